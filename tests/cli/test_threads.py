"""A command that computes begins itself again with huge pages and short waits asked for, once, and leaves what the user
has said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.cli.threads import BRIEFLY

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TOLD = """
import json, os, re, sys
from stepladder.cli.threads import begin_again
print("begun", os.getpid(), file=sys.stderr)
begin_again()
held = bytearray(64 << 20)
mapped = open("/proc/self/smaps_rollup").read()
huge = int(re.search(r"AnonHugePages: +([0-9]+)", mapped)[1])
said = {name: os.environ.get(name) for name in ("GLIBC_TUNABLES", "GOMP_SPINCOUNT")}
print(json.dumps({"words": sys.argv[1:], "pid": os.getpid(), "huge": huge, **said}))
"""


def begun(**said: str) -> tuple[dict[str, object], list[str]]:
    unsaid = "GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY"
    environment = {name: value for name, value in os.environ.items() if name not in unsaid} | said
    done = subprocess.run(
        [sys.executable, "-c", TOLD, "a word", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told, [line for line in done.stderr.splitlines() if line.startswith("begun")]


@pytest.mark.skipif(not ENABLED.exists() or "[never]" in ENABLED.read_text(), reason="the kernel gives no huge pages")
def test_memory_lies_in_huge_pages() -> None:
    told, starts = begun()
    assert told["words"] == ["a word", "--json"]
    assert told["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"
    assert starts == [f"begun {told['pid']}"] * 2  # in the very process that was begun
    assert isinstance(told["huge"], int)
    assert told["huge"] >= 32 << 10


def test_what_is_said_already_stays() -> None:
    told, _ = begun(GLIBC_TUNABLES="glibc.malloc.check=0")
    assert told["GLIBC_TUNABLES"] == "glibc.malloc.check=0:glibc.malloc.hugetlb=1"
    told, starts = begun(GLIBC_TUNABLES="glibc.malloc.hugetlb=0", GOMP_SPINCOUNT="7")
    assert (told["GLIBC_TUNABLES"], told["GOMP_SPINCOUNT"]) == ("glibc.malloc.hugetlb=0", "7")
    assert len(starts) == 1


def test_threads_wait_in_a_loop_for_a_moment_only() -> None:
    assert begun()[0]["GOMP_SPINCOUNT"] == BRIEFLY
    assert begun(OMP_WAIT_POLICY="passive")[0]["GOMP_SPINCOUNT"] is None
