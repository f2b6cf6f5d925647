"""Attention by rules of our own inside a transformers model: who sees whom is said by the pass at hand.

Knows queries, keys and values of a layer; knows no token, no text and no cache of transformers. A model that hands its
attention out through transformers' interface (`suits`) is run with it; the keys of a group of query heads are never
copied for each of them, and no mask of (rows, columns) is made where a rule says the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import causal_mask_function

from stepladder.engine.fast.row_attention import Gathering, attend_in_rows
from stepladder.engine.fast.techniques import ON

NAME = "stepladder"
TRIED = "stepladder, tried"
"""The same attention by another name, under which a model that masks more than the future is noticed."""
torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for every shape, which takes longer than the attention
SHORT = 512  # up to so many tokens a row is learnt faster on a CPU with weights that are kept than by the fused kernel
_WITHOUT_EFFECT = {"position_ids", "position_embeddings", "is_causal", "cache_position", "output_attentions"}


class Sight(Protocol):
    """Who sees whom in one pass through the network."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        """query (batch, heads, n, size), key and value (batch, key heads, n, size) are those of the pass's own tokens.

        Returns (batch, n, heads, size).
        """
        ...


class UnsuitedError(RuntimeError):
    """The model asks its attention for something that is not done here."""


def through(causal: Any, sight: Sight, name: str = NAME, **arguments: Any) -> Tensor:
    """Hidden states (batch, n, width) of the body of `causal`, attending by `sight`."""
    config = causal.config.get_text_config()
    usual = config._attn_implementation
    config._attn_implementation = name
    try:
        hidden: Tensor = causal.base_model(use_cache=False, sight=sight, **arguments).last_hidden_state
    finally:
        config._attn_implementation = usual
    return hidden


def suits(causal: Any) -> bool:
    """Whether `causal` computes by our attention what it computes by its own; tried on six tokens."""
    if not getattr(causal, "_supports_attention_backend", False):
        return False
    embeddings = causal.get_input_embeddings().weight
    ids = torch.arange(1, 7, device=embeddings.device)[None] * 7919 % len(embeddings)
    sight, training = Rows([6], 0, ids.device), causal.training
    causal.eval()
    try:
        with torch.no_grad():
            own = causal.base_model(input_ids=ids, use_cache=False).last_hidden_state.float()
            places = torch.arange(6, device=ids.device)[None]
            ours = through(causal, sight, TRIED, input_ids=ids, position_ids=places).float()
    except (UnsuitedError, TypeError, ValueError, AttributeError, KeyError, IndexError, RuntimeError):
        return False
    finally:
        causal.train(training)
    near = 1e-3 if embeddings.dtype == torch.float32 else 0.1
    reached = sight.layers == set(range(causal.config.get_text_config().num_hidden_layers))
    return reached and bool(((own - ours).norm() <= near * own.norm()).item())


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sight: Sight | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    more = [n for n, asked in other.items() if n not in _WITHOUT_EFFECT and asked is not None and asked is not False]
    if attention_mask is not None:
        raise UnsuitedError(f"{type(module).__name__} masks more than the future")
    if sight is None or more:
        raise UnsuitedError(
            f"{type(module).__name__} asks its attention for {', '.join(sorted(more)) or 'nothing known'}"
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocast leaves them in the dtype of the positions
    with torch.autocast(query.device.type, enabled=False):  # softmax sums in float32 by itself
        return sight.attend(module.layer_idx, query, key, value, scaling, dropout), None


def _mask(*_: Any, mask_function: Any = None, local_size: int | None = None, **__: Any) -> Tensor | None:
    """A mask only where `transformers.masking_utils` hides more than the future: windows, chunks, blocks."""
    return None if local_size is None and mask_function is causal_mask_function else torch.zeros(1, 1, 1, 1)


AttentionInterface.register(NAME, _attention)
AttentionInterface.register(TRIED, _attention)
AttentionMaskInterface.register(TRIED, _mask)


class Kept:
    """What `sight` sees, and the keys and values (1, heads, tokens, size) of all layers, in their order."""

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self.layers: list[tuple[Tensor, Tensor]] = []

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        self.layers.append((key.contiguous(), value.contiguous()))
        return self.sight.attend(layer, query, key, value, scaling, dropout)


class Rows:
    """Rows that begin with this pass, one after the other without padding, behind a `prefix` of so many tokens that all
    of them share: a token sees the prefix, itself, and what stands before it in its own row."""

    def __init__(self, lengths: Sequence[int], prefix: int, device: torch.device) -> None:
        self.lengths, self.prefix = lengths, prefix
        self.count, self.longest = len(lengths), max(lengths)
        self.layers: set[int] = set()
        self.place: Tensor | None = None  # of each token, were the rows padded
        self._gathered: list[Gathering] | None = None
        if min(lengths) < self.longest:
            real = torch.arange(self.longest) < torch.tensor(lengths)[:, None]
            self.place = real.flatten().nonzero()[:, 0].to(device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        self.layers.add(layer)
        short = ON.row_attention and self.prefix + self.longest <= SHORT
        if short and query.requires_grad and query.device.type == "cpu" and not dropout:
            return attend_in_rows(query, key, value, self._gatherings(query, key), scaling)
        own = [self._padded(part[:, :, self.prefix :]) for part in (query, key, value)]
        if not self.prefix:
            return self._flat(causally(own[0], own[1], own[2], scaling, dropout))
        first = [part[:, :, : self.prefix] for part in (query, key, value)]
        found = behind(own[0], own[1], own[2], first[1], first[2], scaling, dropout)
        return torch.cat([causally(first[0], first[1], first[2], scaling, dropout), self._flat(found)], dim=1)

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


def causally(query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float = 0.0) -> Tensor:
    """Each query (batch, heads, n, size) sees the keys up to its own place: (batch, n, heads, size)."""
    groups = query.shape[1] // key.shape[1]
    itself = query.device.type == "cuda" and query.dtype != torch.float32  # the kernel finds the key of a group
    if groups > 1 and not itself:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    found = scaled_dot_product_attention(
        query, key, value, is_causal=True, dropout_p=dropout, scale=scaling, enable_gqa=groups > 1 and itself
    )
    return found.transpose(1, 2)


def behind(
    query: Tensor, key: Tensor, value: Tensor, first_key: Tensor, first_value: Tensor, scaling: float, dropout: float
) -> Tensor:
    """`causally`, where all of each row stands behind the same keys and values (1, key heads, columns, size)."""
    rows, length, columns = len(query), query.shape[2], first_key.shape[2]
    own = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    mask = pad(own, (columns, 0), value=True).repeat(query.shape[1] // key.shape[1], 1)
    key = torch.cat([first_key.expand(rows, -1, -1, -1), key], dim=2)
    value = torch.cat([first_value.expand(rows, -1, -1, -1), value], dim=2)
    found = scaled_dot_product_attention(
        folded(query, key), key, value, attn_mask=mask, dropout_p=dropout, scale=scaling
    )
    return unfolded(found, length)


def weighed(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float) -> tuple[Tensor, Tensor]:
    """Attention (batch, heads, n, size) with the log of the sum of its unnormalised weights (batch, heads, n), by which
    it can be joined with attention to other keys. `mask` is added to the scores."""
    if query.device.type == "cpu":  # the fused kernel knows that sum; the public function does not hand it out
        fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        found: tuple[Tensor, Tensor] = fused(query, key, value, 0.0, False, attn_mask=mask, scale=scaling)
        return found
    scores = query.float() * scaling @ key.float().transpose(2, 3)
    scores = scores if mask is None else scores + mask
    weight = scores.logsumexp(dim=-1)
    return (scores - weight[..., None]).exp().to(value.dtype) @ value, weight


def together(folds: Tensor) -> Tensor:
    """What all rows ask of the same keys as one: (batch, key heads, n, size) to (key heads, batch * n, size)."""
    return folds.transpose(0, 1).flatten(1, 2)


def apart(found: Tensor, rows: int) -> Tensor:
    """The contrary of `together`."""
    return torch.unflatten(found, 1, (rows, -1)).transpose(0, 1)


def folded(query: Tensor, key: Tensor) -> Tensor:
    """Query heads of one key head as more queries: (batch, heads, n, size) to (batch, key heads, groups * n, size)."""
    return torch.unflatten(query, 1, (key.shape[1], -1)).flatten(2, 3)


def unfolded(out: Tensor, n: int) -> Tensor:
    """What `folded` queries found, as (batch, n, heads, size)."""
    return torch.unflatten(out, 2, (-1, n)).flatten(1, 2).transpose(1, 2)
