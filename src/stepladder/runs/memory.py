"""The most memory that a piece of work takes. Knows the kernel's account of this process, and torch's of a GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


@contextmanager
def peak() -> Iterator[dict[str, int]]:
    """What the block took at its height, in bytes, once it is left: `peak_memory` of the whole process, with all that
    it held before, and `peak_gpu_memory` where torch uses one. Empty where the kernel does not tell (it is Linux's)."""
    found: dict[str, int] = {}
    torch = _cuda()
    started = _reset()
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()
    yield found
    if started and (most := _high_water()) is not None:
        found["peak_memory"] = most
    torch = _cuda()
    if torch is not None:
        found["peak_gpu_memory"] = int(torch.cuda.max_memory_allocated())


def _reset() -> bool:
    """Set the high-water mark of resident memory back to what is held now (`5`, see proc(5))."""
    try:
        RESET.write_text("5")
    except OSError:
        return False
    return True


def _high_water() -> int | None:
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def _cuda() -> Any:
    torch: Any = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
