"""Frozen linear layers with low-rank additions, as one function with its own backward pass.

y = x W' + s (x A') B', where only A and B are trained. Nothing but these products is computed or kept: no copy in
float32, no gradient for W. Layers with the same input are one product, and so are their additions.
Source: Hu et al. 2021, LoRA (arXiv 2106.09685), equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function

from stepladder.engine.fast.matrix import Blocks, Matrix
from stepladder.engine.values import LowRank

Addition = tuple[int, LowRank]
"""A low-rank addition, and the first output that it is added to."""


def joined(additions: Sequence[Addition], outs: int, dtype: torch.dtype) -> Blocks:
    """All additions as one, scaled; `up` is zero where an addition does not apply."""
    if len(additions) == 1 and len(additions[0][1].up) == outs:
        ((_, low),) = additions
        return Blocks(low.down.detach().to(dtype), (low.up.detach() * low.scaling).to(dtype))
    down = torch.cat([low.down.detach() for _, low in additions]).to(dtype)
    up = down.new_zeros(outs, len(down))
    for (_, low), (own, ranks) in zip(additions, _places(additions), strict=True):
        up[own, ranks] = low.up.detach() * low.scaling
    return Blocks(down, up)


def low_rank_linear(x: Tensor, weight: Tensor, bias: Tensor | None, additions: Sequence[Addition]) -> Tensor:
    """`with_additions` of a weight (out, in) and bias (out,) that are not prepacked."""
    return with_additions(x, Matrix([weight], bias), additions)


def with_additions(x: Tensor, matrix: Matrix, additions: Sequence[Addition]) -> Tensor:
    """x (..., in) to (..., out), in the dtype of x.

    Products are in the dtype of `x`, or of autocast where that is on. Gradients reach x and the additions.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    frozen, lowly = cast(Any, _FrozenLinear.apply), cast(Any, _LowRankLinear.apply)
    flat = x.flatten(0, -2)  # outside: a model may change their result in place, but not a view of it
    with torch.autocast(x.device.type, enabled=False):
        trained = [part for _, low in additions for part in (low.down, low.up)]
        found: Tensor = lowly(flat, matrix, additions, *trained) if trained else frozen(flat, matrix)
    return torch.unflatten(found, 0, x.shape[:-1])


class _FrozenLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.times(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.back(gradient), None


class _LowRankLinear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Matrix, additions: Sequence[Addition], *trained: Tensor) -> Tensor:
        blocks = joined(additions, matrix.outs, x.dtype)
        out, low = matrix.times_with(x, matrix.fitted(blocks))
        ctx.matrix = matrix
        scaled = [(low.scaling, low.up.dtype) for _, low in additions]
        ctx.parts = [(*places, *own) for places, own in zip(_places(additions), scaled, strict=True)]
        ctx.save_for_backward(x, low[:, : len(blocks.down)], *blocks)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, low, down, up = ctx.saved_tensors
        to_x = None
        if ctx.needs_input_grad[0]:
            blocks = ctx.matrix.fitted(Blocks(down, up).turned, back=True)
            to_x, inner = ctx.matrix.times_with(gradient, blocks, back=True)
            inner = inner[:, : len(down)]
        else:
            inner = gradient @ up
        to_down, to_up = inner.T @ x, low.T @ gradient  # the transposed product is faster for the second
        found = []
        for own, ranks, scaling, dtype in ctx.parts:
            found += [to_down[ranks].to(dtype), to_up[ranks, own].to(dtype).T * scaling]
        return to_x, None, None, *found


def _places(additions: Sequence[Addition]) -> list[tuple[slice, slice]]:
    """For each addition, its outputs and its place among the ranks of all."""
    found, rank = [], 0
    for first, low in additions:
        found.append((slice(first, first + len(low.up)), slice(rank, rank + len(low.down))))
        rank += len(low.down)
    return found
