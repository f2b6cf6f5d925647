"""Variable-length batches on a GPU: rows one after the other, and one attention kernel that knows where each begins.

Nothing is padded for attention. Where passes should have few shapes (`with_spare`), spare tokens follow the rows as a
row of their own, whose results are not used.
Source: Dao 2023, FlashAttention-2 (arXiv 2307.08691), as `torch.nn.attention.varlen`.
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


def supports(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether a device computes attention of heads of this `size` in `dtype` with that kernel."""
    if not ON.varlen or device.type != "cuda" or dtype not in HALVES or size % 8 or size > 256:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 0)


@dataclass(frozen=True)
class VarlenBatch:
    """Rows one after the other, without padding.

    Attributes:
        ids: Token ids (tokens,): first the shared prefix, which is read once, then each row's own tokens.
        positions: Of the tokens in their rows (tokens,).
        kept: The places among the tokens whose results are wanted (n,).
        lengths: How many tokens of its own each row has.
        prefix: How many tokens the shared prefix has.
    """

    ids: Tensor
    positions: Tensor
    kept: Tensor
    lengths: Sequence[int]
    prefix: int

    @classmethod
    def of(cls, ids: Tensor, mask: Tensor, wanted: Tensor, shared_from: int | None = 1) -> VarlenBatch:
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

    def with_spare(self) -> VarlenBatch:
        """With spare tokens at the end, and spare places among the wanted ones, so that few shapes occur."""
        tokens, places = round_up(len(self.ids), 256) - len(self.ids), round_up(len(self.kept), 32) - len(self.kept)
        ids, positions = (pad(part, (0, tokens)) for part in (self.ids, self.positions))
        return replace(self, ids=ids, positions=positions, kept=pad(self.kept, (0, places)))


def round_up(n: int, least: int) -> int:
    """n, or up to an eighth more, in steps of `least` at least, so that few different numbers occur."""
    step = max(least, 1 << max(0, n.bit_length() - 4))
    return -(-n // step) * step


@dataclass(frozen=True)
class VarlenPattern:
    """Attention in a variable-length batch: a token attends to the prefix, to earlier tokens of its row, and to itself.

    Attributes:
        begins: Where each row's queries begin, and the end (rows + 1,), int32.
        key_begins: Where each row's keys begin, and the end (rows + 1,), int32.
        longest: A bound on the queries of one row.
        key_longest: A bound on the keys of one row.
        seen: The tokens whose keys are attended to (keys,); None: all, in order.
    """

    batch: VarlenBatch

    begins: Tensor
    key_begins: Tensor
    longest: int
    key_longest: int
    seen: Tensor | None

    @classmethod
    def of(cls, batch: VarlenBatch, device: torch.device, with_spare: bool = False) -> VarlenPattern:
        """The pattern of a batch; `with_spare` where spare tokens follow its rows."""
        first = [batch.prefix] if batch.prefix else []
        counts = [*first, *batch.lengths]
        keys = [*first, *(batch.prefix + length for length in batch.lengths)]
        if with_spare:
            spare, empty = len(batch.ids) - sum(counts), round_up(len(batch.lengths), 8) - len(batch.lengths)
            counts, keys = [*counts, spare, *[0] * empty], [*keys, spare, *[batch.prefix] * empty]
        longest, key_longest = (_bound(max(each)) if with_spare else max(each) for each in (counts, keys))
        return cls(
            batch=batch,
            begins=_begins(counts, device),
            key_begins=_begins(keys, device),
            longest=longest,
            key_longest=key_longest,
            seen=_seen(batch, sum(keys)).to(device) if first else None,
        )

    @cached_property
    def _padded(self) -> Rows:
        """The same with padded rows and without spare tokens, for what the kernel does not support."""
        return Rows(self.batch.lengths, self.batch.prefix, self.begins.device)

    @property
    def places(self) -> list[Tensor]:
        """The tensors of the pattern."""
        return [part for part in (self.begins, self.key_begins, self.seen) if part is not None]

    def among(self, begins: Tensor, key_begins: Tensor, seen: Tensor | None = None) -> VarlenPattern:
        """The same with other tensors, in the order of `places`."""
        return replace(self, begins=begins, key_begins=key_begins, seen=seen)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        """See `AttentionPattern`. Dropout, and values of another size than keys, take padded rows."""
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


def _seen(batch: VarlenBatch, keys: int) -> Tensor:
    """The prefix, then for each row the prefix and its own tokens; spare places attend to the first token."""
    prefix, first, parts = torch.arange(batch.prefix), batch.prefix, [torch.arange(batch.prefix)]
    for length in batch.lengths:
        parts += [prefix, torch.arange(first, first + length)]
        first += length
    seen = torch.cat(parts)
    return pad(seen, (0, keys - len(seen)))
