"""Cross-entropy over a large vocabulary.

Logits of all answers together may be larger than the model. Where they are, they are computed in chunks: the gradient
for the hidden states is taken at once, chunk by chunk, and the logits are released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from stepladder.engine.fast.softmax import losses_and_gradient
from stepladder.engine.fast.techniques import ON

CHUNK = 256  # rows of logits at once: 50 MB in float32 with a vocabulary of 50,000
ON_GPU = 4  # times as many, where memory is larger and small products are slow
LARGE = 2**25  # logits (128 MiB in float32) above which they are computed in chunks, which takes 5% to 15% longer


def frozen_head_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Losses (n,), natural, float32, of `targets` (n,) by a head that is only a frozen `weight` (vocabulary, width).

    Products are in autocast's dtype where that is on, else in that of `hidden` (n, width), which gradients reach.
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
    with torch.autocast(hidden.device.type, enabled=False):
        weight = weight.detach().to(hidden.dtype)
        if len(hidden) * len(weight) <= LARGE * (ON_GPU if hidden.device.type == "cuda" else 1) or not ON.chunked_head:
            return cross_entropy((hidden @ weight.T).float(), targets, reduction="none")
        apply: Any = _FrozenHead.apply
        found: Tensor = apply(hidden, weight, targets)
    return found


def head_losses(hidden: Tensor, head: Callable[[Tensor], Tensor], targets: Tensor) -> Tensor:
    """The same for any `head` from hidden states to logits, which are computed again in the backward pass."""

    def losses(rows: Tensor, wanted: Tensor) -> Tensor:
        return cross_entropy(head(rows).float(), wanted, reduction="none")

    chunk = _chunk(hidden)
    pairs = [(hidden[at : at + chunk], targets[at : at + chunk]) for at in range(0, max(1, len(hidden)), chunk)]
    if len(hidden) <= chunk or not torch.is_grad_enabled():
        return torch.cat([losses(rows, wanted) for rows, wanted in pairs])
    return torch.cat([checkpoint(losses, rows, wanted, use_reentrant=False) for rows, wanted in pairs])


def _chunk(hidden: Tensor) -> int:
    return CHUNK * (ON_GPU if hidden.device.type == "cuda" else 1)


class _FrozenHead(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        losses = torch.empty(len(hidden), device=hidden.device)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        chunk = _chunk(hidden)
        for start in range(0, len(hidden), chunk):
            rows = slice(start, start + chunk)
            losses[rows], off = losses_and_gradient(hidden[rows] @ weight.T, targets[rows], gradient is not None)
            if gradient is not None:
                gradient[rows] = off @ weight
        ctx.save_for_backward(gradient)
        return losses

    @staticmethod
    def backward(ctx: Any, towards: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * towards[:, None].to(gradient.dtype), None, None
