"""Logits by the model's own forward, and what known architectures do after the matrix of the head."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import MoeModelOutputWithPast

from stepladder.engine.values import VirtualTokens


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
    """Logits (n, vocabulary) as the model's own forward makes them of its body's hidden states (n, width)."""
    body = causal.base_model
    body.forward = lambda *_, **__: MoeModelOutputWithPast(last_hidden_state=hidden[None])
    try:
        ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
        logits: Tensor = causal(input_ids=ids).logits
    finally:
        del body.forward
    return logits[0]


def own_forward(causal: Any, ids: Tensor, virtual: VirtualTokens | None, cache: Any, keep: bool) -> tuple[Tensor, Any]:
    """Logits (batch, n, vocabulary) of rows `ids` (batch, n) by the model's own forward, behind the `virtual` tokens or
    what is in its own `cache`, and that cache with them where it is to be kept; gradients flow."""
    embeddings = causal.get_input_embeddings()
    arguments: dict[str, Any] = {"input_ids": ids}
    if virtual is not None and virtual.embeddings is not None:
        own = embeddings(ids)
        arguments = {"inputs_embeds": torch.cat([virtual.embeddings.to(own.dtype), own], dim=1)}
    elif virtual is not None:
        cache, dtype = virtual.cache, embeddings.weight.dtype
        for layer in cache.layers:
            layer.keys, layer.values = layer.keys.to(dtype), layer.values.to(dtype)
    names = inspect.signature(causal.forward).parameters
    name = "cache_params" if "cache_params" in names else "past_key_values"  # state spaces (Mamba) have the first
    if cache is not None:
        arguments[name] = cache
    found = causal(**arguments, use_cache=keep or cache is not None)
    return found.logits[:, -ids.shape[1] :], getattr(found, name, None)
