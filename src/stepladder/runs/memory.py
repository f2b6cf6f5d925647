"""The most memory that a piece of work takes. Knows the kernel's account of this process, and torch's of a GPU.

The kernel's high-water mark is of the whole process and is left as it is, for others who read it. Where a piece of work
raises it, the mark is exact; else the memory in use is looked at while the work goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

STATUS = Path("/proc/self/status")
APART = 0.05  # seconds between two looks


@contextmanager
def peak() -> Iterator[dict[str, int]]:
    """What the block took at its height, in bytes, once it is left: `peak_memory` of the whole process, with all that
    it held before, and `peak_gpu_memory` where torch uses one. Empty on systems other than Linux."""
    found: dict[str, int] = {}
    before, seen, done = _account("VmHWM"), [_account("VmRSS") or 0], Event()
    watch = Thread(target=_watch, args=(seen, done), daemon=True)
    watch.start()
    torch = _cuda()
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()
    try:
        yield found
    finally:
        done.set()
        watch.join()
    after = _account("VmHWM")
    if before is not None and after is not None:
        found["peak_memory"] = after if after > before else seen[0]
    torch = _cuda()
    if torch is not None:
        found["peak_gpu_memory"] = int(torch.cuda.max_memory_allocated())


def _watch(seen: list[int], done: Event) -> None:
    while not done.wait(APART):
        seen[0] = max(seen[0], _account("VmRSS") or 0)


def _account(name: str) -> int | None:
    """Bytes, as proc(5) has them."""
    try:
        lines = STATUS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _cuda() -> Any:
    torch: Any = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_initialized() else None
