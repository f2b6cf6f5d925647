"""Attention within short rows in training, as one function with its own backward pass.

The parts of all rows are gathered once, so that each product is one for all rows and heads. Attention weights are kept
for the backward pass: for short rows that is faster than computing them again.
Source: Vaswani et al. 2017 (arXiv 1706.03762), equation 1, and its derivative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from stepladder.engine.fast.softmax import causal_weights


@dataclass(frozen=True)
class Gathering:
    """Rows of up to `length` tokens, one after the other from token `first` on, after a shared prefix.

    Vectors are gathered from (heads + 2 key heads, tokens): queries, then keys, then values.

    Attributes:
        shape: Key heads, rows, groups, length.
        query: Places of the queries (key heads, rows, groups, length).
        key: Places of the keys (key heads, rows, prefix + length).
        value: Places of the values, of the same shape.
        real: 0 for the tokens that pad a row (rows, 1, length, 1); None where no row is padded.
        mask: Additive (groups * length, prefix + length).
        found: Places of the results (own tokens, heads) among the gathered queries.
        asked: Places of the gathered queries among the results' gradients.
        back: Places of (heads + 2 key heads, own tokens) in the concatenated gradients of query, key and value.
    """

    shape: tuple[int, int, int, int]
    first: int
    prefix: int
    query: Tensor
    key: Tensor
    value: Tensor
    real: Tensor | None
    mask: Tensor
    found: Tensor
    asked: Tensor
    back: Tensor

    @classmethod
    def of(cls, lengths: Sequence[int], first: int, prefix: int, tokens: int, query: Tensor, key: Tensor) -> Gathering:
        """For queries and keys (1, heads, tokens, size) and (1, key heads, tokens, size)."""
        heads, key_heads = query.shape[1], key.shape[1]
        rows, length, groups = len(lengths), max(lengths), heads // key_heads
        counts = torch.tensor(lengths)
        real = torch.arange(length) < counts[:, None]
        own = torch.where(real, (counts.cumsum(0) - counts)[:, None] + torch.arange(length), 0)
        seen = torch.cat([torch.arange(prefix).expand(rows, -1), own + first], dim=1)
        head, key_head = torch.arange(heads).view(key_heads, 1, groups, 1), torch.arange(key_heads)[:, None, None]
        slots = torch.arange(heads * rows * length).view(key_heads, rows, groups, length)
        columns = slots.numel() + torch.arange(key_heads * rows * (prefix + length)).view(key_heads, rows, -1)
        queries = slots.transpose(1, 2).flatten(0, 1)[:, real]
        keys = columns[:, :, prefix:][:, real]
        device = query.device
        return cls(
            shape=(key_heads, rows, groups, length),
            first=first,
            prefix=prefix,
            query=(head * tokens + own[:, None] + first).flatten().to(device),
            key=((heads + key_head) * tokens + seen).flatten().to(device),
            value=((heads + key_heads + key_head) * tokens + seen).flatten().to(device),
            real=None if bool(real.all()) else real[:, None, :, None].to(query),
            mask=torch.full((length, prefix + length), -torch.inf).triu(prefix + 1).repeat(groups, 1).to(query),
            found=queries.T.flatten().to(device),
            asked=(own[:, None] * heads + head).flatten().to(device),
            back=torch.cat([queries, keys, keys + columns.numel()]).flatten().to(device),
        )

    def gathered(self, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value (key heads * rows, n, size)."""
        batch = self.shape[0] * self.shape[1]
        query, key, value = (
            torch.unflatten(parts.index_select(0, places), 0, (batch, -1))
            for places in (self.query, self.key, self.value)
        )
        return query, key, value


def attend_within_rows(
    query: Tensor, key: Tensor, value: Tensor, gatherings: Sequence[Gathering], scaling: float
) -> Tensor:
    """Attention (1, tokens, heads, size) of queries (1, heads, tokens, size) to keys and values (1, key heads, tokens,
    size). The `gatherings` hold all tokens in order, the first the shared prefix, if there is one."""
    apply: Any = _AttendWithinRows.apply
    found: Tensor = apply(torch.cat([query, key, value], dim=1)[0], query.shape[1], gatherings, scaling)
    return found[None]


class _AttendWithinRows(Function):
    @staticmethod
    def forward(ctx: Any, parts: Tensor, heads: int, gatherings: Sequence[Gathering], scaling: float) -> Tensor:
        flat, found, kept = parts.flatten(0, 1), [], []
        for rows in gatherings:
            query, key, value = rows.gathered(flat)
            weights = causal_weights(query, key, rows.mask, rows.prefix, scaling)
            found.append((weights @ value).flatten(0, 1).index_select(0, rows.found))
            kept += [query, key, value, weights]
        ctx.shape, ctx.heads, ctx.gatherings, ctx.scaling = parts.shape, heads, gatherings, scaling
        ctx.save_for_backward(*kept)
        return torch.unflatten(torch.cat(found), 0, (-1, heads))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        kept = iter(ctx.saved_tensors)
        to_parts = gradient.new_empty(ctx.shape)
        for rows in ctx.gatherings:
            query, key, value, weights = (next(kept) for _ in range(4))
            asked = gradient[rows.first :].flatten(0, 1).index_select(0, rows.asked)
            if rows.real is not None:
                asked = torch.unflatten(asked, 0, rows.shape).mul_(rows.real)
            asked = asked.view_as(query)
            to_value = weights.mT @ asked
            inner: Any = torch.ops.aten._softmax_backward_data
            to_scores = inner(asked @ value.mT, weights, -1, weights.dtype).mul_(ctx.scaling)
            to_query, to_key = to_scores @ key, to_scores.mT @ query
            ends = torch.cat([part.flatten(0, 1) for part in (to_query, to_key, to_value)])
            own = torch.unflatten(ends.index_select(0, rows.back), 0, (ctx.shape[0], -1))
            to_parts[:, rows.first : rows.first + own.shape[1]] = own
            if rows.prefix:
                to_prefix = [
                    torch.unflatten(part, 0, rows.shape[:2])[:, :, : rows.prefix].sum(dim=1)
                    for part in (to_key, to_value)
                ]
                to_parts[ctx.heads :, : rows.prefix] += torch.cat(to_prefix)
        return to_parts, None, None, None
