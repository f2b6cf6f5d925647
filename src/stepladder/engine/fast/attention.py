"""Attention of this package inside a transformers model, through transformers' attention interface.

The attention pattern of a pass says which tokens each token attends to. The keys of a group of query heads are not
copied for each head, and no mask of (rows, columns) is made where a rule is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from stepladder.engine.fast.row_attention import Gathering, attend_within_rows
from stepladder.engine.fast.techniques import ON

NAME = "stepladder"
torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, which takes longer than the attention
SHORT = 512  # tokens of a row up to which training on a CPU is faster with kept weights than with the fused kernel
_WITHOUT_EFFECT = {
    "position_ids", "position_embeddings", "is_causal", "cache_position", "output_attentions",
    "sliding_window",  # of rows that are not longer than it
}  # fmt: skip


class AttentionPattern(Protocol):
    """Which tokens each token of one pass through the network attends to."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        """Attention (batch, n, heads, size) of the layer with this index, by the pass's own queries (batch, heads, n,
        size), keys and values (batch, key heads, n, size). A share `dropout` of the weights is dropped."""
        ...


class UnsupportedAttentionError(RuntimeError):
    """The model asks its attention for something that this package does not compute."""


def forward_with(causal: Any, pattern: AttentionPattern, **arguments: Any) -> Tensor:
    """Hidden states (batch, n, width) of the decoder of `causal`, with the attention of a `pattern`."""
    config = causal.config.get_text_config()
    usual = config._attn_implementation
    config._attn_implementation = NAME
    try:
        hidden: Tensor = causal.base_model(use_cache=False, pattern=pattern, **arguments).last_hidden_state
    finally:
        config._attn_implementation = usual
    return hidden


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    pattern: AttentionPattern | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    more = [n for n, asked in other.items() if n not in _WITHOUT_EFFECT and asked is not None and asked is not False]
    if attention_mask is not None:
        raise UnsupportedAttentionError(f"{type(module).__name__} masks more than later tokens")
    if pattern is None or more:
        raise UnsupportedAttentionError(
            f"{type(module).__name__} asks its attention for {', '.join(sorted(more)) or 'nothing known'}"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves them in the dtype of the positions
    with torch.autocast(query.device.type, enabled=False):  # softmax sums in float32 by itself
        return pattern.attend(module.layer_idx, query, key, value, scaling, dropout), None


AttentionInterface.register(NAME, _attention)


class KeyValueRecorder:
    """Another pattern's attention; collects the keys and values (1, heads, tokens, size) of all layers, in order."""

    def __init__(self, pattern: AttentionPattern) -> None:
        self.pattern = pattern
        self.layers: list[tuple[Tensor, Tensor]] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        self.layers.append((key.contiguous(), value.contiguous()))
        return self.pattern.attend(layer, query, key, value, scaling, dropout)


class Rows:
    """Rows of a causal pass, one after the other without padding, after a shared prefix of `prefix` tokens: a token
    attends to the prefix, to earlier tokens of its own row, and to itself."""

    def __init__(self, lengths: Sequence[int], prefix: int, device: torch.device) -> None:
        self.lengths, self.prefix = lengths, prefix
        self.count, self.longest = len(lengths), max(lengths)
        self.place: Tensor | None = None  # of each token among padded rows
        self._gathered: list[Gathering] | None = None
        if min(lengths) < self.longest:
            real = torch.arange(self.longest) < torch.tensor(lengths)[:, None]
            self.place = real.flatten().nonzero()[:, 0].to(device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        short = ON.row_attention and self.prefix + self.longest <= SHORT
        if short and query.requires_grad and query.device.type == "cpu" and not dropout:
            return attend_within_rows(query, key, value, self._gatherings(query, key), scaling)
        own = [self._padded(part[:, :, self.prefix :]) for part in (query, key, value)]
        if not self.prefix:
            return self._flat(causal_attention(own[0], own[1], own[2], scaling, dropout))
        first = [part[:, :, : self.prefix] for part in (query, key, value)]
        found = prefixed_attention(own[0], own[1], own[2], first[1], first[2], scaling, dropout)
        return torch.cat([causal_attention(first[0], first[1], first[2], scaling, dropout), self._flat(found)], dim=1)

    def _gatherings(self, query: Tensor, key: Tensor) -> list[Gathering]:
        if self._gathered is None:
            tokens = query.shape[2]
            own = Gathering.of(self.lengths, self.prefix, self.prefix, tokens, query, key)
            first = [Gathering.of([self.prefix], 0, 0, tokens, query, key)] if self.prefix else []
            self._gathered = [*first, own]
        return self._gathered

    def _padded(self, part: Tensor) -> Tensor:
        """(1, heads, tokens, size) as (rows, heads, longest, size)."""
        flat = part[0].transpose(0, 1)
        if self.place is not None:
            flat = flat.new_zeros(self.count * self.longest, *flat.shape[1:]).index_copy(0, self.place, flat)
        return torch.unflatten(flat, 0, (self.count, self.longest)).transpose(1, 2)

    def _flat(self, found: Tensor) -> Tensor:
        """(rows, longest, heads, size) as (1, tokens, heads, size)."""
        flat = found.flatten(0, 1)
        return (flat if self.place is None else flat.index_select(0, self.place))[None]


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float = 0.0) -> Tensor:
    """Causal attention of queries (batch, heads, n, size): (batch, n, heads, size)."""
    groups = query.shape[1] // key.shape[1]
    itself = query.device.type == "cuda" and query.dtype != torch.float32  # the kernel supports groups
    if groups > 1 and not itself:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    found = scaled_dot_product_attention(
        query, key, value, is_causal=True, dropout_p=dropout, scale=scaling, enable_gqa=groups > 1 and itself
    )
    return found.transpose(1, 2)


def prefixed_attention(
    query: Tensor, key: Tensor, value: Tensor, first_key: Tensor, first_value: Tensor, scaling: float, dropout: float
) -> Tensor:
    """`causal_attention` after the keys and values (1, key heads, columns, size) of a prefix that all rows share."""
    rows, length, columns = len(query), query.shape[2], first_key.shape[2]
    own = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    mask = pad(own, (columns, 0), value=True).repeat(query.shape[1] // key.shape[1], 1)
    key = torch.cat([first_key.expand(rows, -1, -1, -1), key], dim=2)
    value = torch.cat([first_value.expand(rows, -1, -1, -1), value], dim=2)
    found = scaled_dot_product_attention(
        fold_groups(query, key), key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    return unfold_groups(found, length)


def attention_with_weight(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    """Attention (batch, heads, n, size) with the log of the sum of its unnormalised weights (batch, heads, n), by which
    it can be combined with attention to other keys. `mask` is added to the scores."""
    if query.device.type == "cpu":  # the fused kernel returns that sum, the public function does not
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        found: tuple[Tensor, Tensor] = fused(query, key, value, 0.0, False, attn_mask=mask, scale=scaling)
        return found
    scores = query.float() * scaling @ key.float().transpose(2, 3)
    scores = scores if mask is None else scores + mask
    weight = scores.logsumexp(dim=-1)
    return (scores - weight[..., None]).exp().to(value.dtype) @ value, weight


def merge_rows(folds: Tensor) -> Tensor:
    """Queries of all rows for the same keys as one: (batch, key heads, n, size) to (key heads, batch * n, size)."""
    return folds.transpose(0, 1).flatten(1, 2)


def split_rows(found: Tensor, rows: int) -> Tensor:
    """The inverse of `merge_rows`."""
    return torch.unflatten(found, 1, (rows, -1)).transpose(0, 1)


def fold_groups(query: Tensor, key: Tensor) -> Tensor:
    """Query heads of one key head as more queries: (batch, heads, n, size) to (batch, key heads, groups * n, size)."""
    return torch.unflatten(query, 1, (key.shape[1], -1)).flatten(2, 3)


def unfold_groups(out: Tensor, n: int) -> Tensor:
    """The inverse of `fold_groups`, as (batch, n, heads, size)."""
    return torch.unflatten(out, 2, (-1, n)).flatten(1, 2).transpose(1, 2)
