"""Decoder and head of a transformers causal model, run with explicit positions and attention patterns.

Rows are padded on the right: a causal model then never attends to padding while it reads a prompt, so the causal path
without a mask serves prompts and training alike. Tokens after a prompt have a mask of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache

from stepladder.engine.configuration import has_dropout
from stepladder.engine.fast import attention, varlen
from stepladder.engine.fast.cross_entropy import frozen_head_losses, head_losses
from stepladder.engine.fast.cuda_graphs import Recordings
from stepladder.engine.fast.decoder import Body, signature
from stepladder.engine.fast.heads import corrected, own_logits
from stepladder.engine.fast.masks import additive_masks
from stepladder.engine.fast.matrix import Packs
from stepladder.engine.fast.techniques import ON
from stepladder.engine.fast.varlen import Laid, Packed
from stepladder.engine.network import Network, Virtual

SHARED_ON_GPU = 1024
"""Tokens from which a GPU reads a shared prefix once: with prefixes of 30 to 600 tokens this took 10% to 23% longer."""


@dataclass(frozen=True)
class Variant:
    """How the fast engine runs a model.

    Attributes:
        slots: With the attention of this package over KV-cache slots; else with the model's own attention and
            transformers' cache, in batches with explicit positions and masks.
        own_head: Whether logits need the model's own forward pass, not only the matrix of its head.
    """

    slots: bool
    own_head: bool = False


@dataclass
class Shared:
    """What all models that are tuned from one base share: its variant (None: not known yet), its prepacked weights, and
    which forms of the fused decoder compute what the model computes."""

    variant: Variant | None = None
    packs: Packs = field(default_factory=Packs)
    equal: dict[object, bool] = field(default_factory=dict)


class FastNetwork(Network):
    """A network with the decoder, attention and head of the fast engine."""

    def __init__(self, module: nn.Module, virtual: Virtual | None = None, shared: Shared | None = None) -> None:
        super().__init__(module, virtual)
        self.shared = shared or Shared()
        self._body: tuple[tuple[bool, int], Body | None] | None = None
        self._recordings: Recordings | None = None
        self._active: str | None = None
        self._places: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]] = []

    @property
    def variant(self) -> Variant:
        """How the model is run: as it was admitted, else by slots where its attention can be replaced."""
        if self.shared.variant is None:
            self.shared.variant = Variant(slots=attention.suits(self.causal))
        return self.shared.variant

    @property
    def ours(self) -> bool:
        """Whether the attention of this package runs the model."""
        return self.variant.slots and ON.own_attention

    def hidden(self, ids: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """Hidden states (wanted.sum(), width) at the `wanted` places of right-padded rows, row by row; gradients flow.

        ids, mask, wanted: (batch, length). What all rows begin with, before anything is wanted, is read once, and
        padding is not read.
        """
        if self.virtual is not None or not self.ours:
            return self._forward(ids, None)[wanted]
        # What all rows share is computed once, so its dropout would be the same for all of them.
        laid, body = Laid.of(ids, mask, wanted, self._worth_sharing(drops=self._drops)), self.learning_body()
        sight = self._rows(laid)
        if body:
            return body(laid.ids, laid.positions, sight, laid.kept)
        return self.through(sight, laid.ids, laid.positions)[laid.kept]

    def noisy_hidden(self, ids: Tensor, mask: Tensor, alpha: float) -> Tensor:
        """Hidden states (batch, length, width) of right-padded rows with NEFTune's noise; gradients flow."""
        return self._forward(ids, None, self.noisy_embeddings(ids, mask, alpha))

    def answer_losses(self, ids: Tensor, mask: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        """`losses` of the `targets` (n,) after the `hidden` states at the `wanted` places."""
        body = self.learning_body() if self.virtual is None and self.ours and torch.is_grad_enabled() else None
        if body is None or not self._packs_rows or not self._has_frozen_head:
            return self.losses(self.hidden(ids, mask, wanted), targets)
        laid = Laid.of(ids, mask, wanted, self._worth_sharing()).roomy()
        sight = Packed.of(laid, ids.device, roomy=True)
        spare = len(laid.kept) - len(targets)

        def losses(ids: Tensor, positions: Tensor, kept: Tensor, targets: Tensor, *places: Tensor) -> Tensor:
            return self.losses(body(ids, positions, sight.among(*places), kept), targets)

        inputs = [laid.ids, laid.positions, laid.kept, pad(targets, (0, spare)), *sight.places]
        shape = (*(len(each) for each in inputs), sight.longest, sight.key_longest)
        if self._recordings is None:  # of this body: they go with it
            self._recordings = Recordings([p for p in self._parameters() if p.requires_grad])
        return self._recordings(shape, losses, inputs)[: len(targets)]

    def _worth_sharing(self, drops: bool = False) -> int | None:
        """How long a prefix of all rows is at least read once for a batch, in tokens; None: none is."""
        return None if drops else self.shortest_shared_prefix

    @property
    def shortest_shared_prefix(self) -> int | None:
        """Tokens from which a shared prefix is read once: on a GPU short ones cost more operations than they save."""
        if not ON.shared_prefix:
            return None
        return SHARED_ON_GPU if self.device.type == "cuda" else 1

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
        if not ON.fused_decoder:
            return None
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
                made = Body(self.causal, self.shared.packs, learning)
                if made.form not in self.shared.equal:
                    self.shared.equal[made.form] = self._equals(made)
        except (TypeError, AttributeError, RuntimeError):
            return None
        return made if self.shared.equal[made.form] else None

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
        if self.variant.own_head:
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
        plain = not self.variant.own_head and type(head) is nn.Linear and corrected(self.config, probe) is probe
        return plain and head.bias is None and not (head.weight.requires_grad and torch.is_grad_enabled())

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
