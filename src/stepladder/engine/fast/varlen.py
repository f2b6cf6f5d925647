"""Rows end to end on a GPU, where one kernel knows at which token each begins.

Knows places of tokens, queries, keys and values; knows no model. Nothing is padded for attention. Where passes are to
be of few shapes (`roomy`), spare tokens follow the rows as a row of their own, which nobody asks for anything.
Source: Dao 2023, FlashAttention-2 (arXiv 2307.08691), as PyTorch has it for rows of unequal length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import varlen
from torch.nn.functional import pad

from stepladder.engine.fast.attention import Rows
from stepladder.engine.fast.techniques import ON

HALVES = torch.bfloat16, torch.float16


def serves(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether a device computes attention of heads of such a `size` in `dtype` by that kernel."""
    if not ON.varlen or device.type != "cuda" or dtype not in HALVES or size % 8 or size > 256:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class Laid:
    """Right-padded rows laid end to end: `ids` and `positions` (tokens,), first those that all rows begin with and that
    are read once, then of each row the `lengths` that are its own; `kept` (n,) are the places that are asked for."""

    ids: Tensor
    positions: Tensor
    kept: Tensor
    lengths: Sequence[int]
    prefix: int

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor, wanted: Tensor, shared_from: int | None = 1) -> Laid:
        """ids, mask, wanted: (rows, length). The shared prefix ends where something is wanted; it is read once if it
        has `shared_from` tokens or more (None: never)."""
        prefix = 0
        if shared_from is not None and shared_from <= ids.shape[1] and len(ids) > 1:
            same = int(((ids == ids[:1]) & mask & ~wanted).all(dim=0).long().cumprod(dim=0).sum())
            prefix = same if same >= shared_from else 0
        real = mask[:, prefix:]
        places = torch.arange(ids.shape[1], device=ids.device)
        return cls(
            ids=torch.cat([ids[0, :prefix], ids[:, prefix:][real]]),
            positions=torch.cat([places[:prefix], places[prefix:].expand_as(real)[real]]),
            kept=prefix + wanted[:, prefix:][real].nonzero()[:, 0],
            lengths=real.sum(dim=1).tolist(),
            prefix=prefix,
        )

    def roomy(self) -> Laid:
        """With spare tokens at its end, and spare places among those that are asked for."""
        tokens, places = room(len(self.ids), 256) - len(self.ids), room(len(self.kept), 32) - len(self.kept)
        ids, positions = (pad(part, (0, tokens)) for part in (self.ids, self.positions))
        return replace(self, ids=ids, positions=positions, kept=pad(self.kept, (0, places)))


def room(n: int, least: int) -> int:
    """n, or up to an eighth more, in steps of `least` at least: so that few numbers serve all."""
    step = max(least, 1 << max(0, n.bit_length() - 4))
    return -(-n // step) * step


@dataclass(frozen=True)
class Packed:
    """Who sees whom among rows laid end to end: a token sees the prefix, itself, and what stands before it in its row.

    begins (rows + 1,) and key_begins (rows + 1,), int32, are where each row's queries and keys begin and the last ones
    end, `longest` and `key_longest` bounds for one row's; seen (keys,): the tokens whose keys these are, None: all.
    """

    laid: Laid

    begins: Tensor
    key_begins: Tensor
    longest: int
    key_longest: int
    seen: Tensor | None

    @classmethod
    def of(cls, laid: Laid, device: torch.device, roomy: bool = False) -> Packed:
        """Of rows that are laid; `roomy` where spare tokens follow them."""
        first = [laid.prefix] if laid.prefix else []
        counts = [*first, *laid.lengths]
        keys = [*first, *(laid.prefix + length for length in laid.lengths)]
        if roomy:
            spare, empty = len(laid.ids) - sum(counts), room(len(laid.lengths), 8) - len(laid.lengths)
            counts, keys = [*counts, spare, *[0] * empty], [*keys, spare, *[laid.prefix] * empty]
        longest, key_longest = (_bound(max(each)) if roomy else max(each) for each in (counts, keys))
        return cls(
            laid=laid,
            begins=_begins(counts, device),
            key_begins=_begins(keys, device),
            longest=longest,
            key_longest=key_longest,
            seen=_seen(laid, sum(keys)).to(device) if first else None,
        )

    @cached_property
    def _padded(self) -> Rows:
        """The same, without spare tokens, for what the kernel does not do."""
        return Rows(self.laid.lengths, self.laid.prefix, self.begins.device)

    @property
    def places(self) -> list[Tensor]:
        """What of it is a tensor."""
        return [part for part in (self.begins, self.key_begins, self.seen) if part is not None]

    def among(self, begins: Tensor, key_begins: Tensor, seen: Tensor | None = None) -> Packed:
        """The same with other `places`."""
        return replace(self, begins=begins, key_begins=key_begins, seen=seen)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        """As `Sight` says. What the kernel does not do, to drop weights or to find values of another size, is done with
        the rows padded."""
        if dropout or query.shape[-1] != value.shape[-1]:
            return self._padded.attend(layer, query, key, value, scaling, dropout)
        query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
        if self.seen is not None:
            key, value = key.index_select(0, self.seen), value.index_select(0, self.seen)
        places = self.begins, self.key_begins, self.longest, self.key_longest
        groups = query.shape[1] != key.shape[1]
        found: Any = varlen.varlen_attn(
            query, key, value, *places, scale=scaling, window_size=(-1, 0), enable_gqa=groups
        )
        return found[None]  # type: ignore[no-any-return]


def _bound(n: int) -> int:
    """A power of two that is not below n, nor below 256."""
    return 1 << max(8, (n - 1).bit_length())


def _begins(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([*accumulate(counts, initial=0)], dtype=torch.int32, device=device)


def _seen(laid: Laid, keys: int) -> Tensor:
    """The prefix, then for each row the prefix and its own tokens; spare places see the first token."""
    prefix, first, parts = torch.arange(laid.prefix), laid.prefix, [torch.arange(laid.prefix)]
    for length in laid.lengths:
        parts += [prefix, torch.arange(first, first + length)]
        first += length
    seen = torch.cat(parts)
    return pad(seen, (0, keys - len(seen)))
