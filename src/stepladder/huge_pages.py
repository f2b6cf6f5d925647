"""Memory in huge pages. Knows the C library and how this process was begun; knows no tensor.

Training and writing stream weights and activations through the caches. With pages of 4 KiB each of them costs a walk
through the page table, in a virtual machine through two, and where neighbours fill the caches these walks take most of
the time. glibc (2.35 and later) asks the kernel for huge pages where a variable of the environment says so before a
process begins; so the process begins itself again with it. Source: the GNU C library's manual, `glibc.malloc.hugetlb`.
"""

from __future__ import annotations

import os
import sys

TUNABLES, HUGE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def begin_again() -> None:
    """Begin this command again, in its own process, with huge pages asked for; does nothing the second time, where the
    user has said something else in the variable, and on systems without glibc."""
    said = os.environ.get(TUNABLES, "")
    if HUGE in said or not _has_glibc() or not sys.executable:
        return
    os.environ[TUNABLES] = f"{said}:{HUGE}=1".lstrip(":")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _has_glibc() -> bool:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") is not None
    except (AttributeError, ValueError, OSError):
        return False
