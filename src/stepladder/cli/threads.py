"""How OpenMP threads wait for each other, set before a library that uses them is loaded.

A thread that has done its part of an operation waits for the others. GNU's OpenMP lets it wait in a loop for so long
that, where two processes share cores, each keeps the other's threads from running. Source: libgomp's manual,
`GOMP_SPINCOUNT`.
"""

from __future__ import annotations

import os

SPINS = "2000"
"""Rounds of the waiting loop, of 300,000 by default: some ten to a hundred microseconds."""


def wait_briefly() -> None:
    """Let threads of this process, and of those that it starts, give their core away soon while they wait.

    Leaves what the user has set in `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY`. Has no effect once libgomp is loaded.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
