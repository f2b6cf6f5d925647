"""Softmax over attention scores within rows, and over a vocabulary: by the compiled `kernels`, else by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from stepladder.engine.fast import kernels

CACHED = 16  # rows of a vocabulary in float32 that fit into a CPU's caches


def causal_weights(query: Tensor, key: Tensor, mask: Tensor, prefix: int, scaling: float) -> Tensor:
    """Weights (batch, groups * length, prefix + length) of query (batch, groups * length, size) for key (batch,
    prefix + length, size). The additive `mask` (groups * length, prefix + length) lets each query attend to the prefix
    and up to its own position."""
    width = mask.shape[-1]
    if width <= kernels.CAUSAL_WIDTH and scaling > 0 and kernels.support(query, key):
        scores = torch.bmm(query, key.mT)
        kernels.causal_softmax(scores, width - prefix, prefix, scaling)
        return scores
    return torch.baddbmm(mask, query, key.mT, alpha=scaling).softmax(dim=-1)


def log_sum_exp(logits: Tensor) -> Tensor:
    """log(sum(exp)) of logits (n, vocabulary), in float32: (n,)."""
    if kernels.support(logits):
        return kernels.log_sum_exp(logits)
    few = CACHED if logits.device.type == "cpu" else max(1, len(logits))
    return torch.cat([part.float().logsumexp(dim=-1) for part in torch.split(logits, few)])


def losses_and_gradient(logits: Tensor, targets: Tensor, gradient: bool) -> tuple[Tensor, Tensor]:
    """Cross-entropy (n,), float32, of `targets` (n,) by logits (n, vocabulary), and, if `gradient`, the gradient for
    the logits in their dtype, perhaps in their memory."""
    if logits.is_contiguous() and targets.dtype == torch.long and kernels.support(logits):
        return kernels.cross_entropy(logits, targets, gradient), logits
    logs, wanted = logits.float().log_softmax(dim=-1), targets[:, None]
    losses = -logs.gather(1, wanted)[:, 0]
    if not gradient:
        return losses, logits
    return losses, logs.exp_().scatter_add_(1, wanted, -torch.ones_like(wanted, dtype=logs.dtype)).to(logits.dtype)
