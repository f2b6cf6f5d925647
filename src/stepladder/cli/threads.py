"""What libraries read of the environment once, before a process begins, and how it comes there.

Knows the C library, OpenMP and how this process was begun; knows no tensor. A process that computes begins itself again
with what is wanted of it.

Training and writing stream weights and activations through the caches. With pages of 4 KiB each of them costs a walk
through the page table, in a virtual machine through two, and where neighbours fill the caches these walks take most of
the time. glibc (2.35 and later) asks the kernel for huge pages where it is told to.

A thread that is done with its part of a product waits for the others. GNU's OpenMP lets it wait in a loop for so long
that, where two processes share cores, each keeps the other's threads from what it waits for.

Sources: the GNU C library's manual, `glibc.malloc.hugetlb`; libgomp's manual, `GOMP_SPINCOUNT`.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
SPINS, POLICY = "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
BRIEFLY = "2000"  # rounds of that loop, of 300,000: some ten to a hundred microseconds


_IMPORTED = time.monotonic()


def seconds_of_process() -> float:
    """Seconds since this process began, imports included; where the kernel does not say, since this module was loaded.

    Source: proc(5), field `starttime` of /proc/self/stat, in clock ticks since the machine began.
    """
    try:
        began = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - began / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError, IndexError):
        return time.monotonic() - _IMPORTED


def begin_again() -> None:
    """Begin this command again, in its own process, with huge pages and short waits asked for; does nothing the second
    time, where the user has said something else in these variables, and on systems without glibc."""
    wanted = _wanted() if _has_glibc() and sys.executable else {}
    if wanted:
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _wanted() -> dict[str, str]:
    found, said = {}, os.environ.get(TUNABLES, "")
    if HUGE not in said:
        found[TUNABLES] = f"{said}:{HUGE}=1".lstrip(":")
    if SPINS not in os.environ and POLICY not in os.environ:
        found[SPINS] = BRIEFLY
    return found


def _has_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError, OSError):
        return False
