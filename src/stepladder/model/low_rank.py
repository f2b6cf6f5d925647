"""Frozen linear layers with low-rank additions, as one function with a backward pass of its own.

Knows matrices; knows no PEFT and no model. y = x W' + s (x A') B', where only A and B are learnt. Beside the products
that this needs nothing is computed or kept: no copy in float32, no dropout that drops nothing, no gradient for W.
Layers that read the same input are one product, and so are the A of their additions.
Source: Hu et al. 2021, LoRA (arXiv 2106.09685), equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear

from stepladder.model.language_model import LowRank

Addition = tuple[int, LowRank]
"""A low-rank product, and the first of the outputs that it is added to."""


def low_rank_linear(x: Tensor, weight: Tensor, bias: Tensor | None, additions: Sequence[Addition]) -> Tensor:
    """x (..., in), weight (out, in), bias (out); returns (..., out) in the dtype of x.

    Products are in the dtype of `x`, or of autocast where that is on. Gradients reach x and the additions.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if bias is not None:
        bias = bias.to(x.dtype)
    downs, ups = [low.down for _, low in additions], [low.up for _, low in additions]
    how = [(first, low.scaling) for first, low in additions]
    with torch.autocast(x.device.type, enabled=False):
        if not additions:
            return linear(x, weight.to(x.dtype), bias)
        apply: Any = _LowRankLinear.apply
        found: Tensor = apply(x, weight.to(x.dtype), bias, how, *downs, *ups)
    return found


class _LowRankLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, how: Sequence[tuple[int, float]], *learnt: Tensor
    ) -> Tensor:
        flat = x.flatten(0, -2)
        downs, ups = learnt[: len(how)], learnt[len(how) :]
        down = _joined([a.to(x.dtype) for a in downs])
        scaled = [(b * scaling).to(x.dtype) for b, (_, scaling) in zip(ups, how, strict=True)]
        low = flat @ down.T
        out = linear(flat, weight, bias)
        ctx.how = [(first, scaling, len(a), a.dtype) for (first, scaling), a in zip(how, downs, strict=True)]
        for outs, ranks, up in _parts(ctx.how, scaled):
            out[:, outs].addmm_(low[:, ranks], up.T)
        ctx.save_for_backward(flat, low, weight, down, *scaled)
        return torch.unflatten(out, 0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, low, weight, down, *scaled = ctx.saved_tensors
        towards = gradient.flatten(0, -2)
        parts = _parts(ctx.how, scaled)
        inner = _joined([towards[:, outs] @ up for outs, _, up in parts], dim=1)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.unflatten((towards @ weight).addmm_(inner, down), 0, gradient.shape[:-1])
        to_down, to_downs, to_ups = inner.T @ flat, [], []
        for (outs, ranks, _), (_, scaling, _, dtype) in zip(parts, ctx.how, strict=True):
            to_downs.append(to_down[ranks].to(dtype))
            to_ups.append((low[:, ranks].T @ towards[:, outs]).to(dtype).T * scaling)  # the faster way round
        return to_x, None, None, None, *to_downs, *to_ups


def _joined(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=dim)


def _parts(how: Sequence[tuple[int, float, int, Any]], ups: Sequence[Tensor]) -> list[tuple[slice, slice, Tensor]]:
    """Of each addition: its outputs, its place among the ranks of all, its `up` (out, rank)."""
    found, rank = [], 0
    for (first, _, ranks, _), up in zip(how, ups, strict=True):
        found.append((slice(first, first + len(up)), slice(rank, rank + ranks), up))
        rank += ranks
    return found
