"""The dtype that a device computes in.

A configuration names `bf16` or `float32`. A CPU without bf16 products (before AVX512 or AVX-NE-CONVERT) takes about a
hundred times as long for one as for a float32 product: there bf16 weights are computed with in float32. This adds no
digits to the weights, avoids all later rounding, and takes twice the memory.
"""

from __future__ import annotations

import sys
from functools import cache

import torch

DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


def computed(precision: str, device: torch.device | str) -> torch.dtype:
    """The dtype in which `device` computes at `precision` (`bf16` or `float32`); notes on stderr where it differs."""
    if precision == "bf16" and not has_bf16(torch.device(device).type):
        _note()
        return torch.float32
    return DTYPES[precision]


@cache
def has_bf16(kind: str) -> bool:
    """Whether devices of this kind (`cpu`, `cuda`, ...) have products in bfloat16 on this machine."""
    if kind == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else True


@cache
def _note() -> None:
    print("note: this device has no bf16 matrix products; bf16 weights are computed in float32", file=sys.stderr)
