"""Logits of hidden states: by the head's matrix, or by the model's own forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import MoeModelOutputWithPast


def corrected(config: Any, logits: Tensor) -> Tensor:
    """What known architectures do to logits after the head; the same object where that is nothing."""
    scale = getattr(config, "logit_scale", None)  # Cohere
    if scale:
        logits = logits * scale
    scaling = getattr(config, "logits_scaling", None)  # Granite
    if scaling:
        logits = logits / scaling
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma 2 and 3
    return torch.tanh(logits / cap) * cap if cap else logits


def own_logits(causal: Any, hidden: Tensor) -> Tensor:
    """Logits (n, vocabulary) as the model's own forward makes them of its decoder's hidden states (n, width)."""
    decoder = causal.base_model
    decoder.forward = lambda *_, **__: MoeModelOutputWithPast(last_hidden_state=hidden[None])
    try:
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        logits: Tensor = causal(input_ids=ids).logits
    finally:
        del decoder.forward
    return logits[0]
