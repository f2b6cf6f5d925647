"""Decoder and head of a transformers causal model, run with explicit positions and attention patterns.

Rows are padded on the right: a causal model then never attends to padding while it reads a prompt, so the causal path
without a mask serves prompts and training alike. Tokens after a prompt have a mask of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache

from stepladder.engine.configuration import has_dropout, windows
from stepladder.engine.fast import attention, varlen
from stepladder.engine.fast.cross_entropy import frozen_head_losses, head_losses
from stepladder.engine.fast.cuda_graphs import CudaGraphs
from stepladder.engine.fast.decoder import FusedDecoder, signature
from stepladder.engine.fast.matrix import PrepackedWeights
from stepladder.engine.fast.techniques import ON
from stepladder.engine.fast.varlen import VarlenBatch, VarlenPattern
from stepladder.engine.network import Network, Virtual

SHARED_ON_GPU = 1024
"""Tokens from which a GPU reads a shared prefix once: with prefixes of 30 to 600 tokens this took 10% to 23% longer."""


@dataclass
class Shared:
    """What all models that are tuned from one base share: its prepacked weights, and which forms of the fused decoder
    compute what the model computes."""

    packs: PrepackedWeights = field(default_factory=PrepackedWeights)
    equal: dict[object, bool] = field(default_factory=dict)


class FastNetwork(Network):
    """A network with the decoder, attention and head of the fast engine."""

    def __init__(self, module: nn.Module, virtual: Virtual | None, shared: Shared) -> None:
        super().__init__(module, virtual)
        self.shared = shared
        self._decoder: tuple[tuple[bool, int], FusedDecoder | None] | None = None
        self._graphs: CudaGraphs | None = None
        self._active: str | None = None
        self._places: list[tuple[dict[str, nn.Parameter | None], str, nn.Parameter]] = []

    @cached_property
    def longest_row(self) -> int | None:
        """The longest row, in tokens, that this network computes; None: any. Beyond it a sliding window hides tokens,
        or rotary frequencies change."""
        switch = [] if self.rotary_switch is None else [self.rotary_switch]
        return min([*windows(self.config), *switch], default=None)

    def hidden(self, ids: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
        """Hidden states (wanted.sum(), width) at the `wanted` positions of right-padded rows, row by row.

        A shared prefix of all rows, before the first wanted position, may be read once. Gradients flow.

        Args:
            ids: Token ids (batch, length).
            mask: True at real tokens (batch, length).
            wanted: True at the positions to return (batch, length).
        """
        if self.virtual is not None:
            return self._forward(ids, None)[wanted]
        # A shared prefix is computed once, so its dropout would be the same for all rows.
        batch = VarlenBatch.of(ids, mask, wanted, None if self._drops else self.shortest_shared_prefix)
        pattern, decoder = self._rows(batch), self.training_decoder()
        if decoder:
            return decoder(batch.ids, batch.positions, pattern, batch.kept)
        return self.forward_with(pattern, batch.ids, batch.positions)[batch.kept]

    def noisy_hidden(self, ids: Tensor, mask: Tensor, alpha: float) -> Tensor:
        """Hidden states (batch, length, width) of right-padded rows with NEFTune's noise; gradients flow."""
        return self._forward(ids, None, self.noisy_embeddings(ids, mask, alpha))

    def answer_losses(self, ids: Tensor, mask: Tensor, wanted: Tensor, targets: Tensor) -> Tensor:
        """`losses` of the `targets` (n,) after the `hidden` states at the `wanted` places."""
        decoder = self.training_decoder() if self.virtual is None and torch.is_grad_enabled() else None
        if decoder is None or not self._uses_varlen or not self._has_frozen_head:
            return self.losses(self.hidden(ids, mask, wanted), targets)
        batch = VarlenBatch.of(ids, mask, wanted, self.shortest_shared_prefix).with_spare()
        pattern = VarlenPattern.of(batch, ids.device, with_spare=True)
        spare = len(batch.kept) - len(targets)

        def losses(ids: Tensor, positions: Tensor, kept: Tensor, targets: Tensor, *places: Tensor) -> Tensor:
            return self.losses(decoder(ids, positions, pattern.among(*places), kept), targets)

        inputs = [batch.ids, batch.positions, batch.kept, pad(targets, (0, spare)), *pattern.places]
        shape = (*(len(each) for each in inputs), pattern.longest, pattern.key_longest)
        if self._graphs is None:  # of this decoder: replaced with it
            self._graphs = CudaGraphs([p for p in self._parameters() if p.requires_grad])
        return self._graphs(shape, losses, inputs)[: len(targets)]

    @property
    def shortest_shared_prefix(self) -> int | None:
        """Tokens from which a shared prefix is read once: on a GPU short ones cost more operations than they save."""
        if not ON.shared_prefix:
            return None
        return SHARED_ON_GPU if self.device.type == "cuda" else 1

    @property
    def _drops(self) -> bool:
        """Whether the model is in training and its configuration has dropout."""
        return bool(self.causal.training) and has_dropout(self.config)

    def _rows(self, batch: VarlenBatch) -> attention.AttentionPattern:
        if self._uses_varlen:
            return VarlenPattern.of(batch, self.device)
        return attention.Rows(batch.lengths, batch.prefix, self.device)

    @property
    def _uses_varlen(self) -> bool:
        config = self.config
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return varlen.supports(self.device, self._computed, size)

    def decoder(self) -> FusedDecoder | None:
        """The fused decoder of the current weights, for predicting; None where the model is not supported."""
        return self._kept_decoder(training=False)

    def training_decoder(self) -> FusedDecoder | None:
        """The fused decoder for training, whose low-rank additions get gradients; None where it is not supported."""
        return self._kept_decoder(training=True)

    def _kept_decoder(self, training: bool) -> FusedDecoder | None:
        if not ON.fused_decoder:
            return None
        parameters = self._parameters()
        if any(hasattr(parameter, "device_mesh") for parameter in parameters):
            return None  # sharded weights are whole inside their own layers only
        if training and self._drops:
            return None  # the fused decoder has no dropout
        now = training, signature(parameters, contents=not training)
        if self._decoder is None or self._decoder[0] != now:
            self._decoder = self._graphs = None  # one at a time: each has prepacked weights
            self._decoder = now, self._new_decoder(training)
        return self._decoder[1]

    def _parameters(self) -> list[nn.Parameter]:
        """All parameters. Searching the modules takes longer than checking that each is still in its place."""
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

    def _new_decoder(self, training: bool) -> FusedDecoder | None:
        try:
            with self.predicting(), torch.autocast(self.device.type, enabled=False):
                made = FusedDecoder(self.causal, self.shared.packs, training)
                if made.form not in self.shared.equal:
                    self.shared.equal[made.form] = self._equals(made)
        except (TypeError, AttributeError, RuntimeError):
            return None
        return made if self.shared.equal[made.form] else None

    def _equals(self, made: FusedDecoder) -> bool:
        """Whether it computes what the model's own layers compute, on six tokens."""
        ids = torch.arange(1, 7, device=self.device) * 7919 % self.vocabulary
        places = torch.arange(6, device=self.device)
        ours = made(ids, places, self._rows(VarlenBatch(ids, places, places, [6], 0))).float()
        own = self.forward_with(attention.Rows([6], 0, self.device), ids, places).float()
        near = 1e-3 if self.dtype == torch.float32 else 0.1
        return bool((own - ours).norm() <= near * own.norm())

    def forward_with(self, pattern: attention.AttentionPattern, ids: Tensor, positions: Tensor) -> Tensor:
        """Hidden states (n, width) of tokens `ids` (n,) at `positions` (n,), with the attention of a `pattern`."""
        return attention.forward_with(self.causal, pattern, input_ids=ids[None], position_ids=positions[None])[0]

    def prefix(self, ids: Sequence[int]) -> list[tuple[Tensor, Tensor]] | None:
        """Keys and values (1, heads, columns, size) of each layer for the prefix of every row: virtual tokens, then
        `ids`. None where there is neither."""
        if not ids:
            virtual = self.virtual(1) if self.virtual else None
            if virtual is None:
                return None
            if virtual.cache is not None:
                return [(layer.keys.to(self.dtype), layer.values.to(self.dtype)) for layer in virtual.cache.layers]
        all_ids = torch.tensor([list(ids)], dtype=torch.long, device=self.device)
        decoder = self.decoder() if self.virtual is None else None
        if decoder is None:
            _, cache = self.read(all_ids)
            return [(layer.keys, layer.values) for layer in cache.layers]
        pattern, places = attention.KeyValueRecorder(attention.Rows([len(ids)], 0, self.device)), torch.arange(len(ids))
        decoder(all_ids[0], places.to(self.device), pattern, torch.tensor([0], device=self.device))
        return pattern.layers

    def read(self, ids: Tensor) -> tuple[Tensor, Any]:
        """Hidden states (batch, length, width) of right-padded rows, and transformers' cache of them."""
        cache = DynamicCache()
        return self._forward(ids, cache), cache

    def logits(self, hidden: Tensor, head: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width), by `head` if given: the model's, prepacked."""
        return corrected(self.config, (head or self.causal.get_output_embeddings())(hidden))

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy (n,), natural, float32, of `targets` (n,) after hidden states (n, width); gradients flow."""
        if self._has_frozen_head:
            return frozen_head_losses(hidden, self.causal.get_output_embeddings().weight, targets)
        return head_losses(hidden, self.logits, targets)

    @property
    def _has_frozen_head(self) -> bool:
        """Whether the head is a matrix that is not trained, and nothing else."""
        head, probe = self.causal.get_output_embeddings(), torch.ones(1)
        plain = type(head) is nn.Linear and corrected(self.config, probe) is probe
        return plain and head.bias is None and not (head.weight.requires_grad and torch.is_grad_enabled())

    @property
    def _computed(self) -> torch.dtype:
        """The dtype of products."""
        kind = self.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else self.dtype

    def _forward(self, ids: Tensor, cache: Any, embeddings: Tensor | None = None) -> Tensor:
        """The model's own decoder without a mask. An empty `cache`, if given, gets the keys and values; `embeddings`
        (batch, length, width), if given, replace those of `ids`."""
        arguments, virtual = self._behind_virtual(ids, embeddings)
        before = 0
        if virtual is not None:
            before, cache = self.virtual_length, DynamicCache() if cache is None else cache
            for index, layer in enumerate(virtual.layers):
                cache.update(layer.keys, layer.values, index)
        (given,) = arguments.values()
        positions = torch.arange(before, before + given.shape[1], device=ids.device).expand(len(ids), -1)
        arguments |= {"position_ids": positions, "past_key_values": cache, "use_cache": cache is not None}
        hidden: Tensor = self.causal.base_model(**arguments).last_hidden_state
        return hidden[:, -ids.shape[1] :]


def corrected(config: Any, logits: Tensor) -> Tensor:
    """What known architectures do to logits after the head; the same object where that is nothing."""
    scale = getattr(config, "logit_scale", None)  # Cohere
    if scale:
        logits = logits * scale
    scaling = getattr(config, "logits_scaling", None)  # Granite
    if scaling:
        logits = logits / scaling
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 and 3
    return torch.tanh(logits / cap) * cap if cap else logits
