"""The C++ kernels of `csrc/`, compiled by the machine's compiler at first use and kept in the user's cache.

A kernel does in one pass through memory what PyTorch's operations do in three to eight. Threads are those of PyTorch's
OpenMP library, so that no two thread pools share the cores. Without a compiler, or with another kind of threads,
`kernels()` is None and PyTorch's operations run. Kernels have no gradients of their own.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stepladder.engine.fast.techniques import ON
from stepladder.errors import UserError
from stepladder.io.cache import cache_folder

SOURCES = sorted(file for file in Path(__file__).parent.with_name("csrc").iterdir() if file.suffix in (".cpp", ".h"))
FLAGS = ["-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math"]
FLAGS += ["-fopenmp", "-fPIC"]
NAMES = {torch.bfloat16: "bf16", torch.float32: "float32"}
TAKES = {
    "rms_norm": "ttttnnf",
    "rms_norm_back": "tttttnn",
    "gated": "ttnn",
    "gated_back": "tttnn",
    "rotated": "ttttnnnnnf",
    "log_sum_exp": "ttnnn",
    "cross_entropy": "tttnnn",
    "causal_softmax": "tnnnnf",
    "highest_place": "ttttnn",
    "packed": "ttnnnn",
    "tiled_product": "ttttttttnnnn",
}
"""Arguments of each kernel: t tensor, n integer, f float."""
CAUSAL_WIDTH = 1024
"""Columns of scores that `causal_softmax` supports at most."""
BY_VECTORS, BY_TILES = 64, 512
"""Tokens of a fused step at most, with products by vectors and by AMX tiles."""
TILE = 32
"""Inputs and outputs of one AMX tile."""
COMPILERS = ("c++", "g++", "clang++")
THREADS = re.compile(r"lib(gomp|omp|iomp5)\b[^/]*\.so[^/]*$")


def support(*tensors: Tensor) -> bool:
    """Whether the kernels support `tensors`: on a CPU, of one supported dtype, rows contiguous."""
    first = tensors[0]
    return (
        ON.kernels
        and first.dtype in NAMES
        and all(t.device.type == "cpu" and t.dtype == first.dtype and t.stride(-1) == 1 for t in tensors)
        and kernels() is not None
    )


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm of x (..., width), and the factor of each row (rows,), float32."""
    x = x.contiguous()
    out, scales = torch.empty_like(x), torch.empty(x.numel() // x.shape[-1], dtype=torch.float32)
    _call("rms_norm", x, weight, out, scales, len(scales), x.shape[-1], eps)
    return out, scales


def rms_norm_back(gradient: Tensor, x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    gradient, x = gradient.contiguous(), x.contiguous()
    out = torch.empty_like(x)
    _call("rms_norm_back", gradient, x, weight, scales, out, len(scales), x.shape[-1])
    return out


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up (rows, width) of gate_up (rows, 2 width)."""
    gate_up = gate_up.contiguous()
    rows, both = gate_up.shape
    out = gate_up.new_empty(rows, both // 2)
    _call("gated", gate_up, out, rows, both // 2)
    return out


def gated_back(gradient: Tensor, gate_up: Tensor) -> Tensor:
    gradient, gate_up = gradient.contiguous(), gate_up.contiguous()
    out = torch.empty_like(gate_up)
    _call("gated_back", gradient, gate_up, out, *gradient.shape)
    return out


def rotated(x: Tensor, cos: Tensor, sin: Tensor, back: bool = False) -> Tensor:
    """Rotary embedding of x (rows, heads, width) with cos and sin (rows, 1, width); `back`: the inverse."""
    cos, sin, out = cos.contiguous(), sin.contiguous(), x.new_empty(x.shape)
    _call("rotated", x, cos, sin, out, *x.shape, x.stride(0), x.stride(1), -1.0 if back else 1.0)
    return out


def log_sum_exp(x: Tensor) -> Tensor:
    """log(sum(exp)) of x (rows, width): (rows,), float32."""
    out = torch.empty(len(x), dtype=torch.float32)
    _call("log_sum_exp", x, out, *x.shape, x.stride(0))
    return out


def cross_entropy(logits: Tensor, targets: Tensor, gradient: bool) -> Tensor:
    """Losses (rows,), float32, of `targets` (rows,); `gradient`: logits (rows, width) are overwritten with theirs."""
    losses = torch.empty(len(logits), dtype=torch.float32)
    _call("cross_entropy", logits, targets.contiguous(), losses, *logits.shape, int(gradient))
    return losses


def causal_softmax(scores: Tensor, length: int, prefix: int, scaling: float) -> None:
    """Scores (..., width), whose rows follow each other `length` by `length`, become weights."""
    _call("causal_softmax", scores, scores.numel() // scores.shape[-1], length, prefix, scores.shape[-1], scaling)


def highest_place(x: Tensor, at: Tensor, allowed: Tensor | None) -> Tensor:
    """First argmax (rows,) of the rows `at` (rows,) of x (any, width), among the places whose bit is set in `allowed`
    (rows, words), 32 a word, if given."""
    x, at, out = x.contiguous(), at.contiguous(), torch.empty_like(at)
    bits = None if allowed is None else allowed.contiguous()
    _call("highest_place", x, at, bits, out, len(at), x.shape[1])
    return out


def tiled(dtype: torch.dtype) -> bool:
    """Whether the CPU has tiles (AMX) for products of the dtype."""
    return ON.tiles and dtype == torch.bfloat16 and hasattr(kernels(), "tiled_bf16") and bool(kernels().tiled_bf16())


def packed(weight: Tensor) -> Tensor:
    """A weight (out, in) in the order in which products by tiles read it (`csrc/tiles.h`): (blocks of outputs, blocks
    of inputs, 2, 16 pairs of inputs, 16 outputs, 2), padded with zeros."""
    outs, ins = weight.shape
    found = weight.new_empty(-(-outs // TILE), -(-ins // TILE), 2, 16, 16, 2)
    _call("packed", weight, found, outs, ins, *weight.stride())
    return found


def tiled_product(
    x: Tensor, weight: Tensor, outs: int, bias: Tensor | None, onto: Tensor | None, addition: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Product of x (rows, ins) and a `packed` weight, plus a low-rank addition.

    Args:
        bias: (outs,).
        onto: (rows, outs), added to the product.
        addition: Two packed matrices (ranks, ins) and (outs, ranks); x times both is added.

    Returns:
        The sum (rows, outs), and x times the first matrix of the addition (rows, ranks).
    """
    if x.shape[1] != weight.shape[1] * TILE:
        raise ValueError(f"rows of {x.shape[1]} by a weight of {weight.shape[1] * TILE} inputs")
    x, out = x.contiguous(), x.new_empty(len(x), outs)
    bias, onto = (None if part is None else part.to(x.dtype).contiguous() for part in (bias, onto))
    down, up = addition or (None, None)
    ranks = 0 if down is None else len(down) * TILE
    low = x.new_empty(max(len(x), TILE), ranks)
    _call("tiled_product", x, weight, bias, onto, down, up, low, out, *out.shape, x.shape[1], ranks)
    return out, low[: len(x)]


def step(dtype: torch.dtype, pass_: Any) -> None:
    """One decoding step, described by a `_Pass` of `fused_step`."""
    getattr(kernels(), f"step_{NAMES[dtype]}")(pass_)


def steps_at_once(dtype: torch.dtype) -> int:
    """Tokens up to which a compiled step by vectors is faster than the fused decoder; 0 where there is none for this
    dtype and CPU."""
    there = ON.fused_step and dtype in NAMES and hasattr(kernels(), f"step_{NAMES[dtype]}")
    return BY_VECTORS if there else 0


def _call(name: str, first: Tensor, *others: Tensor | float | None) -> None:
    library = kernels()
    assert library is not None
    given = (part.data_ptr() if isinstance(part, Tensor) else part for part in (first, *others))
    getattr(library, f"{name}_{NAMES[first.dtype]}")(*given)


@cache
def kernels() -> Any:
    """The compiled library; None where it is not available."""
    compiler = shlex.split(os.environ.get("CXX", "")) or list(filter(shutil.which, COMPILERS))[:1]
    threads = _threads()
    if not compiler or threads is None:
        return None
    try:
        ctypes.CDLL(threads, ctypes.RTLD_GLOBAL)  # the library uses these and has none of its own
        library = ctypes.CDLL(str(_compiled(compiler)))
    except (OSError, UserError, subprocess.CalledProcessError):
        return None
    kinds = {"t": ctypes.c_void_p, "n": ctypes.c_int64, "f": ctypes.c_float}
    for name, takes in TAKES.items():
        for dtype in NAMES.values():
            if hasattr(library, f"{name}_{dtype}"):
                getattr(library, f"{name}_{dtype}").argtypes = [kinds[kind] for kind in takes]
    return library


def _threads() -> str | None:
    """The OpenMP library that PyTorch has loaded."""
    try:
        loaded = {line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:
        return None
    return min(filter(THREADS.search, loaded), default=None)


def _compiled(compiler: Sequence[str]) -> Path:
    """The library's file, compiled for this source, compiler and CPU. A file that others can write is not loaded.

    Raises OSError, UserError or CalledProcessError.
    """
    sources = [source.read_text(encoding="utf-8") for source in SOURCES]
    made_of = [*sources, *FLAGS, *compiler, _stamp(compiler[0]), _processor()]
    file = cache_folder() / "kernels" / f"{hashlib.sha256(chr(0).join(made_of).encode()).hexdigest()[:24]}.so"
    if not file.exists():
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent) as work:
            made = Path(work, "kernels.so")
            files = {source: str(Path(work, f"{source.stem}.o")) for source in SOURCES if source.suffix == ".cpp"}
            compilations = [[*FLAGS, "-c", str(source), "-o", half] for source, half in files.items()]
            for words in [*compilations, ["-shared", *files.values(), "-o", str(made)]]:
                subprocess.run([*compiler, *words], capture_output=True, check=True)
            made.chmod(0o700)
            made.replace(file)
    status = file.stat()
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(file)
    return file


def _stamp(compiler: str) -> str:
    """Changes when the compiler is replaced."""
    place = Path(shutil.which(compiler) or compiler).resolve()
    status = place.stat()
    return f"{place} {status.st_size} {status.st_mtime_ns}"


def _processor() -> str:
    """The CPU features that `-march=native` depends on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(("flags", "Features"))}))
