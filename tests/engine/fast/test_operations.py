"""What has a backward pass of its own gives what autograd makes of the plain formula, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import silu

from stepladder.engine.fast.operations import gated, rms_norm, rotated


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def norm(x):
    weight = drawn(6)
    return rms_norm(x, weight, 1e-3), x * (x.square().mean(-1, keepdim=True) + 1e-3).rsqrt() * weight


def turned(x):
    angle = drawn(5, 1, 3)
    cos, sin = angle.cos().repeat(1, 1, 2), angle.sin().repeat(1, 1, 2)
    first, second = x.unflatten(1, (2, 6)).chunk(2, dim=-1)
    plain = torch.cat([first * cos[..., :3] - second * sin[..., :3], second * cos[..., 3:] + first * sin[..., 3:]], -1)
    signed = torch.cat([-sin[..., :3], sin[..., 3:]], dim=-1)
    return rotated(x.unflatten(1, (2, 6)), cos, signed).flatten(1), plain.flatten(1)


def product(x):
    gate, up = x.chunk(2, dim=1)
    return gated(x), silu(gate) * up


@pytest.mark.parametrize(("operation", "width"), [(norm, 6), (turned, 12), (product, 8)])
def test_forwards_and_backwards(operation, width):
    x = drawn(5, width).requires_grad_()
    ours, plain = operation(x)
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=1e-6)
    towards = drawn(*ours.shape)
    (found,) = torch.autograd.grad(ours, x, towards, retain_graph=True)
    (wanted,) = torch.autograd.grad(plain, x, towards)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(operation(x.detach())[0], plain.detach())


@pytest.mark.parametrize(("operation", "width"), [(norm, 6), (turned, 12), (product, 8)])
def test_results_are_in_the_dtype_of_the_input(operation, width):
    x = drawn(5, width).bfloat16().requires_grad_()
    ours, _ = operation(x)
    assert ours.dtype == torch.bfloat16
    ours.sum().backward()
    assert x.grad.dtype == torch.bfloat16
