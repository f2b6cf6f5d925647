"""Additive attention masks for a model's own attention, by its configuration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def additive_masks(config: Any, dtype: torch.dtype, allowed: Tensor, queries: Tensor, keys: Tensor) -> Any:
    """Masks (batch, 1, n, columns), by layer type where the model mixes full and sliding layers.

    allowed (batch, n, columns): which columns each token may see; queries (batch, n) and keys (batch, columns): their
    positions.
    """
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ())
    if not window or kinds == {"full_attention"} or not getattr(config, "use_sliding_window", True):
        return _additive(allowed, dtype)
    near = _additive(allowed & (queries[:, :, None] - keys[:, None, :] < window), dtype)
    if len(kinds) < 2:
        return near
    return {"full_attention": _additive(allowed, dtype), "sliding_attention": near}


def _additive(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    mask = torch.zeros(allowed.shape, dtype=dtype, device=allowed.device)
    return mask.masked_fill_(~allowed, torch.finfo(dtype).min)[:, None]
