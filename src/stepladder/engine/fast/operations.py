"""Norm, rotary embedding and gate of a Llama-like layer, each with a backward pass of few operations.

Results are in the dtype of the input. The compiled `kernels` compute them where they are available, else PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import rms_norm as plain_rms_norm
from torch.nn.functional import silu

from stepladder.engine.fast import kernels


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """The root mean square norm (Zhang and Sennrich 2019) of x (..., width), rounded once, at the end. No gradient for
    `weight` (width,)."""
    if not x.requires_grad and kernels.support(x, weight):
        return kernels.rms_norm(x, weight, eps)[0]
    if not x.requires_grad or x.device.type == "cuda":  # PyTorch has a kernel for both directions there
        with torch.autocast(x.device.type, enabled=False):
            return plain_rms_norm(x, weight.shape, weight.to(x.dtype), eps)
    apply: Any = _RmsNorm.apply
    found: Tensor = apply(x, weight, eps)
    return found


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021) of x (tokens, heads, size) with cos and sin (tokens, 1, size), the first
    half of `sin` negated."""
    apply: Any = _Rotated.apply
    found: Tensor = apply(x, cos, sin) if x.requires_grad else _turned(x, cos, sin)
    return found


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up (Shazeer 2020), where gate_up (tokens, 2 width) is both concatenated."""
    if gate_up.requires_grad:
        apply: Any = _Gated.apply
        found: Tensor = apply(gate_up)
        return found
    return _gated(gate_up)


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        if kernels.support(x, weight):
            out, scales = kernels.rms_norm(x, weight, eps)
            ctx.save_for_backward(x, weight, scales)
            return out
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=_sums(x))
        scale = (norm.square_() / x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        found: Tensor = (x * scale).mul_(weight).to(x.dtype)
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        x, weight, scale = ctx.saved_tensors
        if kernels.support(gradient, x, weight):
            return kernels.rms_norm_back(gradient, x, weight, scale), None, None
        towards = gradient * weight
        along = (towards * x).sum(dim=-1, keepdim=True, dtype=_sums(x))
        along = along.mul_(scale.pow(3)).div_(-x.shape[-1])
        return torch.addcmul(towards * scale, x, along).to(x.dtype), None, None


class _Rotated(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(gradient, cos, sin, back=True), None, None


class _Gated(Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        return _gated(gate_up)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        if kernels.support(gradient, gate_up):
            return kernels.gated_back(gradient, gate_up)
        found = torch.empty_like(gate_up)
        (gate, up), (to_gate, to_up) = gate_up.chunk(2, dim=1), found.chunk(2, dim=1)
        torch.ops.aten.silu_backward.grad_input(gradient * up, gate, grad_input=to_gate)
        torch.mul(gradient, silu(gate), out=to_up)
        return found


def _sums(x: Tensor) -> torch.dtype:
    """The dtype of sums over x."""
    return torch.promote_types(x.dtype, torch.float32)


def _gated(gate_up: Tensor) -> Tensor:
    if kernels.support(gate_up):
        return kernels.gated(gate_up)
    gate, up = gate_up.chunk(2, dim=1)
    return silu(gate).mul_(up)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, back: bool = False) -> Tensor:
    if kernels.support(x, cos, sin):
        return kernels.rotated(x, cos, sin, back)
    sin = -sin if back else sin
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin).to(x.dtype)
