"""Body and head of a transformers causal model, run with explicit positions and masks.

Knows tensors, keys and values; knows no text, no tokenizer, no label. Rows are padded on the right: a causal model then
never looks at padding while it reads a prompt, so the plain causal path (no mask at all) serves prompts and training
alike. What comes after a prompt looks back through a mask of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from transformers import DynamicCache

from stepladder.engine.configuration import has_dropout, rope_switch
from stepladder.engine.cross_entropy import frozen_head_losses, head_losses
from stepladder.engine.fast import attention, varlen
from stepladder.engine.fast.cuda_graphs import Recordings
from stepladder.engine.fast.decoder import Body, signature
from stepladder.engine.fast.matrix import Packs
from stepladder.engine.fast.varlen import Laid, Packed
from stepladder.engine.heads import corrected, own_forward, own_logits
from stepladder.engine.masks import additive_masks
from stepladder.engine.values import VirtualTokens

Virtual = Callable[[int], VirtualTokens]
Path = Literal["slots", "cache", "plain"]
"""How a model is run. slots: attention of this package over KV-cache slots. cache: the model's own attention and cache,
batches with explicit positions and masks. plain: the model's own forward, one unpadded row at a time."""


class Network:
    """A causal model's body and head, with the virtual tokens that stand before every row."""

    def __init__(self, module: nn.Module, virtual: Virtual | None = None, packs: Packs | None = None) -> None:
        self.module, self.packs = module, packs or Packs()
        # PEFT's low-rank and scaling adapters live inside the model that they wrap: calling that one is right.
        whole = cast(Any, module)
        self.causal = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        self.config: Any = self.causal.config.get_text_config()
        self.virtual = virtual
        self._path: Path | None = None
        self.continues = False  # on the plain path: whether the model's own cache gives what a whole row gives
        self._body: tuple[tuple[bool, int], Body | None] | None = None
        self._recordings: Recordings | None = None
        self._active: str | None = None
        self._places: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]] = []

    @property
    def device(self) -> torch.device:
        return next(iter(self.causal.parameters())).device  # type: ignore[no-any-return]

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that the model's own configurations call an end."""
        named = [self.config.eos_token_id, getattr(self.causal.generation_config, "eos_token_id", None)]
        return frozenset(
            end for ends in named for end in (ends if isinstance(ends, list) else [ends]) if end is not None
        )

    @property
    def vocabulary(self) -> int:
        head = self.causal.get_output_embeddings()
        return int(self.config.vocab_size if head is None else head.weight.shape[0])

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """No gradients, no dropout; afterwards as before."""
        learning = [module for module in self.module.modules() if module.training]
        for module in learning:
            module.training = False
        try:
            with torch.no_grad():
                yield
        finally:
            for module in learning:
                module.training = True

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids (batch, longest) padded on the right with token 0, and their lengths (batch,)."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        return ids.to(self.device), lengths.to(self.device)

    @property
    def suits(self) -> bool:
        """Whether the attention of this package computes what the model's own does."""
        if self.packs.suits is None:
            self.packs.suits = attention.suits(self.causal)
        return self.packs.suits

    @property
    def path(self) -> Path:
        """How the model is run; `reading.choose_path` finds it out when a model is loaded."""
        if self._path is None:
            self._path = self.packs.path or ("slots" if self.suits else "cache")
            self.continues = self.packs.continues
        return self._path

    @path.setter
    def path(self, path: Path) -> None:
        self._path = path

    @property
    def ours(self) -> bool:
        """Whether the attention of this package runs the model."""
        return self.path == "slots"

    @cached_property
    def switch(self) -> int | None:
        """Up to so many tokens of a row the rotary frequencies are the same for every length of a row."""
        return rope_switch(self.config)

    @cached_property
    def columns_before(self) -> int:
        """How many virtual tokens stand before every row."""
        if self.virtual is None:
            return 0
        with self.predicting():
            return self.virtual(1).length

    def takes_plain(self, tokens: int) -> bool:
        """Whether a row of so many tokens, prompt and answer, is to be run on the plain path."""
        return self.path == "plain" or self.is_beyond(tokens)

    def is_beyond(self, tokens: int) -> bool:
        """Whether a row of so many tokens has other rotary frequencies than shorter ones."""
        return self.switch is not None and self.columns_before + tokens > self.switch

    def depends_on_length(self, tokens: int) -> bool:
        """Whether a token's result in a row of up to so many tokens may depend on how many tokens come after it.

        Doge keeps the keys with the highest scores once a row is longer than its window. Of equal scores, which
        repeated tokens have, the number of keys decides which are kept.
        """
        bound = self.packs.length_bound
        return bound is not None and self.columns_before + tokens > bound

    def hidden(self, ids: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """Hidden states (wanted.sum(), width) at the `wanted` places of right-padded rows, row by row; gradients flow.

        ids, mask, wanted: (batch, length). What all rows begin with, before anything is wanted, is read once, and
        padding is not read.
        """
        if self.virtual is not None or not self.ours:
            return self._forward(ids, None)[wanted]
        # What all rows share is computed once, so its dropout would be the same for all of them.
        laid, body = Laid.of(ids, mask, wanted, shares=not self._drops), self.learning_body()
        sight = self._rows(laid)
        if body:
            return body(laid.ids, laid.positions, sight, laid.kept)
        return self.through(sight, laid.ids, laid.positions)[laid.kept]

    def noisy_hidden(self, ids: Tensor, mask: Tensor, alpha: float) -> Tensor:
        """Hidden states (batch, length, width) of right-padded rows with noise on their embeddings; gradients flow.

        Each value of a row's embeddings gets noise from -1 to 1 times alpha / sqrt(length x width), with the row's own
        length (Jain et al. 2023, NEFTune, arXiv 2310.05914).
        """
        embeddings: Tensor = self.causal.get_input_embeddings()(ids)
        scale = alpha / (mask.sum(dim=1) * embeddings.shape[-1]).sqrt()
        noise = torch.empty_like(embeddings).uniform_(-1, 1) * scale[:, None, None].to(embeddings.dtype)
        return self._forward(ids, None, embeddings + noise)

    def learnt_losses(self, ids: Tensor, mask: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        """`losses` of the `targets` (n,) after the `hidden` states at the `wanted` places."""
        if self.switch is not None:
            beyond = mask.sum(dim=1) + self.columns_before > self.switch
            if bool(beyond.any()) and not bool(beyond.all()):
                return self._losses_apart(beyond, ids, mask, wanted, targets)
        if self.path == "plain":
            lengths = mask.sum(dim=1)
            shortest, longest = int(lengths.min()), int(lengths.max())
            if shortest < longest and self.depends_on_length(longest):
                return self._losses_apart(lengths == longest, ids, mask, wanted, targets)
            logits, _ = self.own_forward(ids[:, :longest])
            wanted = wanted[:, :longest]
            return cross_entropy(logits[wanted].float(), targets, reduction="none")
        body = self.learning_body() if self.virtual is None and self.ours and torch.is_grad_enabled() else None
        if body is None or not self._packs_rows or not self._has_frozen_head:
            return self.losses(self.hidden(ids, mask, wanted), targets)
        laid = Laid.of(ids, mask, wanted).roomy()
        sight = Packed.of(laid, ids.device, roomy=True)
        spare = len(laid.kept) - len(targets)

        def losses(ids: Tensor, positions: Tensor, kept: Tensor, targets: Tensor, *places: Tensor) -> Tensor:
            return self.losses(body(ids, positions, sight.among(*places), kept), targets)

        inputs = [laid.ids, laid.positions, laid.kept, pad(targets, (0, spare)), *sight.places]
        shape = (*(len(each) for each in inputs), sight.longest, sight.key_longest)
        if self._recordings is None:  # of this body: they go with it
            self._recordings = Recordings([p for p in self._parameters() if p.requires_grad])
        return self._recordings(shape, losses, inputs)[: len(targets)]

    def _losses_apart(self, apart: Tensor, ids: Tensor, mask: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        """`learnt_losses` of the rows that stand `apart` (batch,) and of the others, each by themselves."""
        losses = torch.empty(len(targets), device=ids.device)
        row = wanted.nonzero()[:, 0]
        for rows in (apart, ~apart):
            upto, own = int(mask[rows].sum(dim=1).max()), rows[row].nonzero()[:, 0]
            parts = [part[rows, :upto] for part in (ids, mask, wanted)]
            losses = losses.index_copy(0, own, self.learnt_losses(parts[0], parts[1], parts[2], targets[own]).float())
        return losses

    @property
    def _drops(self) -> bool:
        """Whether the model now drops something of its own."""
        return bool(self.causal.training) and has_dropout(self.config)

    def _rows(self, laid: Laid) -> attention.Sight:
        if self._packs_rows:
            return Packed.of(laid, self.device)
        return attention.Rows(laid.lengths, laid.prefix, self.device)

    @property
    def _packs_rows(self) -> bool:
        config = self.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return varlen.serves(self.device, self._computed, size)

    def body(self) -> Body | None:
        """The network as it now is, for predicting, in as few operations as it takes; None where we do not know how."""
        return self._kept_body(learning=False)

    def learning_body(self) -> Body | None:
        """The same for learning: gradients reach what is learnt of it."""
        return self._kept_body(learning=True)

    def _kept_body(self, learning: bool) -> Body | None:
        parameters = self._parameters()
        if any(hasattr(parameter, "device_mesh") for parameter in parameters):
            return None  # weights that lie in pieces are whole inside their own layers alone
        if learning and self._drops:
            return None  # the model's own layers drop what is to be dropped
        now = learning, signature(parameters, contents=not learning)
        if self._body is None or self._body[0] != now:
            self._body = self._recordings = None  # one at a time: each holds weights of its own
            self._body = now, self._made_body(learning)
        return self._body[1]

    def _parameters(self) -> list[nn.Parameter]:
        """All of them. To look for them takes longer than to see that they are where they were found."""
        active = str(getattr(self.module, "active_adapter", ""))
        if self._active != active or any(owner.get(name) is not one for owner, name, one in self._places):
            self._active = active
            self._places = [
                (owner._parameters, name, parameter)
                for owner in self.causal.modules()
                for name, parameter in owner._parameters.items()
                if parameter is not None
            ]
        return list({id(parameter): parameter for *_, parameter in self._places}.values())

    def _made_body(self, learning: bool) -> Body | None:
        if not self.ours:
            return None
        try:
            with self.predicting(), torch.autocast(self.device.type, enabled=False):
                made = Body(self.causal, self.packs, learning)
                if made.form not in self.packs.tried:
                    self.packs.tried[made.form] = self._equals(made)
        except (TypeError, AttributeError, RuntimeError):
            return None
        return made if self.packs.tried[made.form] else None

    def _equals(self, made: Body) -> bool:
        """Whether it gives what the model itself gives."""
        ids = torch.arange(1, 7, device=self.device) * 7919 % self.vocabulary
        places = torch.arange(6, device=self.device)
        ours = made(ids, places, self._rows(Laid(ids, places, places, [6], 0))).float()
        own = self.through(attention.Rows([6], 0, self.device), ids, places).float()
        near = 1e-3 if self.dtype == torch.float32 else 0.1
        return bool((own - ours).norm() <= near * own.norm())

    def through(self, sight: attention.Sight, ids: Tensor, positions: Tensor) -> Tensor:
        """Hidden states (n, width) of tokens `ids` (n,) at `positions` (n,), which see what `sight` says."""
        return attention.through(self.causal, sight, input_ids=ids[None], position_ids=positions[None])[0]

    def prefix(self, ids: Sequence[int]) -> list[tuple[Tensor, Tensor]] | None:
        """Keys and values (1, heads, columns, size), layer by layer, of what every row begins with: virtual tokens,
        then `ids`. None where that is nothing."""
        if not ids:
            virtual = self.virtual(1) if self.virtual else None
            if virtual is None:
                return None
            if virtual.cache is not None:
                return [(layer.keys.to(self.dtype), layer.values.to(self.dtype)) for layer in virtual.cache.layers]
        all_ids = torch.tensor([list(ids)], dtype=torch.long, device=self.device)
        body = self.body() if self.virtual is None else None
        if body is None:
            _, cache = self.read(all_ids)
            return [(layer.keys, layer.values) for layer in cache.layers]
        sight, places = attention.Kept(attention.Rows([len(ids)], 0, self.device)), torch.arange(len(ids))
        body(all_ids[0], places.to(self.device), sight, torch.tensor([0], device=self.device))
        return sight.layers

    def read(self, ids: Tensor) -> tuple[Tensor, Any]:
        """Hidden states of right-padded rows, and transformers' cache of what they read."""
        cache = DynamicCache()
        return self._forward(ids, cache), cache

    def extend(self, cache: Any, ids: Tensor, allowed: Tensor, positions: Tensor, seen: Tensor) -> Tensor:
        """Hidden states (batch, n, width) of more tokens `ids` (batch, n), which join the `cache`.

        allowed (batch, n, columns): which columns, new ones last, each sees; seen (batch, columns): their positions.
        """
        mask = additive_masks(self.config, self.dtype, allowed, positions, seen)
        body = self.causal.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        hidden: Tensor = body.last_hidden_state
        return hidden

    def logits(self, hidden: Tensor, head: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width), by `head` where it is known in another form."""
        if self.packs.own_head:
            return own_logits(self.causal, hidden)
        return corrected(self.config, (head or self.causal.get_output_embeddings())(hidden))

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy (n,), natural, float32, of `targets` (n,) after hidden states (n, width); gradients flow."""
        if self._has_frozen_head:
            return frozen_head_losses(hidden, self.causal.get_output_embeddings().weight, targets)
        return head_losses(hidden, self.logits, targets)

    @property
    def _has_frozen_head(self) -> bool:
        """Whether the head is a matrix that nothing is now learnt of, and nothing else."""
        head, probe = self.causal.get_output_embeddings(), torch.ones(1)
        plain = not self.packs.own_head and type(head) is nn.Linear and corrected(self.config, probe) is probe
        return plain and head.bias is None and not (head.weight.requires_grad and torch.is_grad_enabled())

    def own_forward(self, ids: Tensor, cache: Any = None, keep: bool = False) -> tuple[Tensor, Any]:
        """`heads.own_forward` behind the virtual tokens, which a `cache` that is given holds already."""
        virtual = self.virtual(len(ids)) if self.virtual and cache is None else None
        return own_forward(self.causal, ids, virtual, cache, keep)

    @property
    def dtype(self) -> torch.dtype:
        return self.causal.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    @property
    def _computed(self) -> torch.dtype:
        """The dtype of products."""
        kind = self.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.dtype

    def _forward(self, ids: Tensor, cache: Any, embeddings: Tensor | None = None) -> Tensor:
        """The plain causal path. `cache`, when given, is empty and takes the keys and values; `embeddings` (batch,
        length, width), when given, are those of `ids`."""
        arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
        columns, before = ids.shape[1], 0
        virtual = self.virtual(len(ids)) if self.virtual else None
        read = {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}
        if virtual is None:
            arguments |= read
        elif virtual.embeddings is not None:
            own = self.causal.get_input_embeddings()(ids) if embeddings is None else embeddings
            arguments["inputs_embeds"] = torch.cat([virtual.embeddings.to(own.dtype), own], dim=1)
            columns += virtual.length
        else:
            before = virtual.length
            cache = DynamicCache() if cache is None else cache
            arguments |= {**read, "use_cache": True, "past_key_values": cache}
            for index, layer in enumerate(virtual.cache.layers):
                cache.update(layer.keys.to(self.dtype), layer.values.to(self.dtype), index)
        positions = torch.arange(before, before + columns, device=ids.device).expand(len(ids), -1)
        hidden: Tensor = self.causal.base_model(position_ids=positions, **arguments).last_hidden_state
        return hidden[:, -ids.shape[1] :]
