"""A frozen linear layer with a low-rank addition, as one function with a backward pass of its own.

Knows matrices; knows no PEFT and no model. y = x W' + s (x A') B', where only A and B are learnt. Beside the products
that this needs nothing is computed or kept: no copy in float32, no dropout that drops nothing, no gradient for W.
Source: Hu et al. 2021, LoRA (arXiv 2106.09685), equation 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import linear


def low_rank_linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """x (..., in), weight (out, in), bias (out), a (rank, in), b (out, rank); returns (..., out) in the dtype of x.

    Products are in the dtype of `x`, or of autocast where that is on. Gradients reach x, a and b.
    """
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    if bias is not None:
        bias = bias.to(x.dtype)
    with torch.autocast(x.device.type, enabled=False):
        apply: Any = _LowRankLinear.apply
        found: Tensor = apply(x, weight.to(x.dtype), bias, a, b, scaling)
    return found


class _LowRankLinear(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        flat = x.flatten(0, -2)
        down, up = a.to(x.dtype), (b * scaling).to(x.dtype)
        low = flat @ down.T
        out = linear(flat, weight, bias).addmm_(low, up.T)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scaling, ctx.learnt = scaling, a.dtype
        return torch.unflatten(out, 0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat, low, weight, down, up = ctx.saved_tensors
        towards = gradient.flatten(0, -2)
        inner = towards @ up
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = torch.unflatten((towards @ weight).addmm_(inner, down), 0, gradient.shape[:-1])
        to_a = (inner.T @ flat).to(ctx.learnt)
        to_b = (low.T @ towards).to(ctx.learnt).T * ctx.scaling  # the faster way round
        return to_x, None, None, to_a, to_b, None
