"""The dtype that a device computes in. Knows devices; knows no model.

A config says `bf16` or `float32`, and no machine changes what it says. A processor without bf16 products (before
AVX512 or AVX-NE-CONVERT) takes about a hundred times as long for one as for the same in float32: there weights of bf16
are computed with in float32, which gives them no more digits, spares every later rounding, and takes twice the memory.
"""

from __future__ import annotations

import sys
from functools import cache

import torch

DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}


def computed(precision: str, device: torch.device | str) -> torch.dtype:
    """The dtype in which `device` computes at `precision` (`bf16` or `float32`); says so where it is another."""
    if precision == "bf16" and not has_bf16(torch.device(device).type):
        _said()
        return torch.float32
    return DTYPES[precision]


@cache
def has_bf16(kind: str) -> bool:
    """Whether devices of this kind (`cpu`, `cuda`, ...) have products in bfloat16 on this machine."""
    if kind == "cpu":
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return torch.cuda.is_bf16_supported(including_emulation=False) if kind == "cuda" else True


@cache
def _said() -> None:
    print("note: this device has no bf16 matrix products; bf16 weights are computed in float32", file=sys.stderr)
