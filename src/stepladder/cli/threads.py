"""Limits the spin-waiting of OpenMP threads, before a library that uses them is loaded.

A thread that has finished its part of an operation waits for the others in a loop. By default GNU's OpenMP loops so
long that two processes on the same cores slow each other down. Source: libgomp's manual, `GOMP_SPINCOUNT`.
"""

from __future__ import annotations

import os

SPINS = "2000"
"""Iterations of the waiting loop: 10 to 100 microseconds. The default is 300,000 iterations."""


def wait_briefly() -> None:
    """Shorten the spin-waiting of OpenMP threads in this process and in those that it starts.

    Values that the user has set in `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY` are kept. There is no effect once libgomp is
    loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
