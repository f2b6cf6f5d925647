"""Body and head of a transformers causal model, run with explicit positions and masks.

Knows tensors, keys and values; knows no text, no tokenizer, no label. Rows are padded on the right: a causal model then
never looks at padding while it reads a prompt, so the plain causal path (no mask at all) serves prompts and training
alike. What comes after a prompt looks back through a mask of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from stepladder.errors import ModelError
from stepladder.model.language_model import VirtualTokens

Virtual = Callable[[int], VirtualTokens]


@dataclass
class Read:
    """What a batch has read so far.

    cache: keys and values of every column. visible: (batch, columns), false at padding. positions: (batch, columns).
    """

    cache: Any
    visible: Tensor
    positions: Tensor

    def keep(self, rows: Tensor) -> Read:
        """The same for some of the rows only."""
        self.cache.batch_select_indices(rows)
        return Read(self.cache, self.visible[rows], self.positions[rows])


class Network:
    """A causal model's body and head, with the virtual tokens that stand before every row."""

    def __init__(self, module: nn.Module, virtual: Virtual | None = None) -> None:
        self.module = module
        # PEFT's low-rank and scaling adapters live inside the model that they wrap: calling that one is right.
        whole = cast(Any, module)
        self.causal = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        self.config: Any = self.causal.config.get_text_config()
        self.virtual = virtual

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
        return int(self.causal.get_output_embeddings().weight.shape[0])

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """No gradients, no dropout; afterwards as before."""
        training = self.module.training
        self.module.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self.module.train(training)

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids (batch, longest) padded on the right with token 0, and their lengths (batch,)."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        return ids.to(self.device), lengths.to(self.device)

    def hidden(self, ids: Tensor) -> Tensor:
        """Hidden states (batch, length, width) of right-padded rows; gradients flow."""
        with self._attention_for(ids.shape[1]):
            return self._forward(ids, None)

    @contextmanager
    def _attention_for(self, length: int) -> Iterator[None]:
        """On a CPU the backward pass of fused attention is slow; plain attention trains short rows faster."""
        usual = self.config._attn_implementation
        plain = torch.is_grad_enabled() and self.device.type == "cpu" and usual == "sdpa" and length <= 512
        if plain:
            self.causal.set_attn_implementation("eager")
        try:
            yield
        finally:
            if plain:
                self.causal.set_attn_implementation(usual)

    def read(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Read]:
        """Read prompts: the hidden state at each row's last token (batch, width), and what later tokens look at."""
        cache = DynamicCache()
        hidden = self._forward(ids, cache)
        rows, columns = len(ids), cache.get_seq_length()
        positions = torch.arange(columns, device=ids.device).expand(rows, -1)
        visible = positions < (lengths + columns - ids.shape[1])[:, None]
        return hidden[torch.arange(rows, device=ids.device), lengths - 1], Read(cache, visible, positions)

    def extend(self, read: Read, ids: Tensor, positions: Tensor, among: Tensor) -> tuple[Tensor, Read]:
        """Read more tokens (batch, n) at `positions`, counted from each row's start, virtual tokens included.

        Each sees all that was visible in `read`, and of the new tokens those that `among` (batch, n, n) allows.
        """
        past = read.visible[:, None, :].expand(-1, ids.shape[1], -1)
        seen = torch.cat([read.positions, positions], dim=1)
        mask = self._masks(torch.cat([past, among], dim=2), positions, seen)
        body = self.causal.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=read.cache, use_cache=True
        )
        visible = torch.cat([read.visible, torch.ones_like(ids, dtype=torch.bool)], dim=1)
        return body.last_hidden_state, Read(body.past_key_values, visible, seen)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width)."""
        logits: Tensor = self.causal.get_output_embeddings()(hidden)
        scale = getattr(self.config, "logit_scale", None)  # Cohere
        if scale:
            logits = logits * scale
        scaling = getattr(self.config, "logits_scaling", None)  # Granite
        if scaling:
            logits = logits / scaling
        cap = getattr(self.config, "final_logit_softcapping", None)  # Gemma 2 and 3
        return torch.tanh(logits / cap) * cap if cap else logits

    def check(self) -> None:
        """Raise ModelError when this architecture does not keep to what is taken for granted here.

        Six tokens, read at once by the model's own forward and in two parts by ours, must give the same.
        """
        takes = set(inspect.signature(self.causal.base_model.forward).parameters)
        if not {"position_ids", "past_key_values", "attention_mask"} <= takes:
            raise self._unfit("takes no positions")
        other = set(getattr(self.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
        if other:
            raise self._unfit(f"has layers of another kind: {', '.join(sorted(other))}")
        ids = torch.arange(1, 7, device=self.device)[None] % self.config.vocab_size
        among = torch.ones(1, 2, 2, dtype=torch.bool, device=self.device).tril()
        try:
            with self.predicting():
                own = self.causal(ids).logits[0, 3:].float().log_softmax(-1)
                last, read = self.read(ids[:, :4], torch.tensor([4], device=self.device))
                after, _ = self.extend(read, ids[:, 4:], torch.tensor([[4, 5]], device=self.device), among)
                ours = self.logits(torch.cat([last, after[0]])).float().log_softmax(-1)
        except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise self._unfit(f"can not be read in two parts: {error}") from error
        difference = float((own - ours).abs().max())
        if not difference < (1e-2 if self._dtype == torch.float32 else 0.5):
            raise self._unfit(f"computes something of its own: log-probabilities differ by {difference:.3g}")

    def _unfit(self, why: str) -> ModelError:
        return ModelError(
            f"A model of type '{self.config.model_type}' can not be used: it {why}",
            "model",
            "choose a decoder-only model with attention in every layer (Llama, Qwen, Mistral, Gemma, Phi, ...)",
        )

    @property
    def _dtype(self) -> torch.dtype:
        return self.causal.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    def _forward(self, ids: Tensor, cache: Any) -> Tensor:
        """The plain causal path. `cache`, when given, is empty and takes the keys and values."""
        arguments: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
        columns, before = ids.shape[1], 0
        virtual = self.virtual(len(ids)) if self.virtual else None
        if virtual is None:
            arguments["input_ids"] = ids
        elif virtual.embeddings is not None:
            own = self.causal.get_input_embeddings()(ids)
            arguments["inputs_embeds"] = torch.cat([virtual.embeddings.to(own.dtype), own], dim=1)
            columns += virtual.length
        else:
            before = virtual.length
            cache = DynamicCache() if cache is None else cache
            arguments |= {"input_ids": ids, "use_cache": True, "past_key_values": cache}
            for index, layer in enumerate(virtual.cache.layers):
                cache.update(layer.keys.to(self._dtype), layer.values.to(self._dtype), index)
        positions = torch.arange(before, before + columns, device=ids.device).expand(len(ids), -1)
        hidden: Tensor = self.causal.base_model(position_ids=positions, **arguments).last_hidden_state
        return hidden[:, -ids.shape[1] :]

    def _masks(self, allowed: Tensor, queries: Tensor, keys: Tensor) -> Any:
        """Additive masks (batch, 1, n, columns), by layer type where the model mixes full and sliding layers."""
        window = getattr(self.config, "sliding_window", None)
        kinds = set(getattr(self.config, "layer_types", None) or ())
        if not window or kinds == {"full_attention"} or not getattr(self.config, "use_sliding_window", True):
            return self._additive(allowed)
        near = self._additive(allowed & (queries[:, :, None] - keys[:, None, :] < window))
        if len(kinds) < 2:
            return near
        return {"full_attention": self._additive(allowed), "sliding_attention": near}

    def _additive(self, allowed: Tensor) -> Tensor:
        mask = torch.zeros(allowed.shape, dtype=self._dtype, device=allowed.device)
        return mask.masked_fill_(~allowed, torch.finfo(self._dtype).min)[:, None]
