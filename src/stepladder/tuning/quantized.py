"""Linear layers in four bits. The only module that uses bitsandbytes."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from stepladder.errors import ModelError


def quantize(module: nn.Module, quant_type: str) -> None:
    """Put every linear layer but the head into four bits, in place; what it held before is left as it was."""
    try:
        bnb = importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise ModelError(
            "QLoRA keeps the base model in four bits, and bitsandbytes, which does that, is not installed",
            "adapter",
            "pip install 'stepladder[quantized]', or choose adapter=lora",
        ) from error
    network: Any = module
    head = network.get_output_embeddings()
    for name, layer in list(module.named_modules()):
        if type(layer) is not nn.Linear or layer is head:
            continue
        weight = layer.weight.data
        small = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=False, compute_dtype=weight.dtype, quant_type=quant_type
        )
        small.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type=quant_type)
        small.bias = layer.bias
        # Else, on some processors, a validation repacks the weights, and gradients are wrong from then on (0.50).
        small.support_avx512bf16_for_cpu = False
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, small.to(weight.device))
    network.is_loaded_in_4bit = True  # by this PEFT knows which layers of its own to put on
