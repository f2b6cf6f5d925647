"""A command that computes begins itself again with huge pages asked for, once, and leaves what the user has said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
TOLD = """
import json, os, re, sys
from stepladder.huge_pages import begin_again
print("begun", os.getpid(), file=sys.stderr)
begin_again()
held = bytearray(64 << 20)
mapped = open("/proc/self/smaps_rollup").read()
huge = int(re.search(r"AnonHugePages: +([0-9]+)", mapped)[1])
print(json.dumps({"words": sys.argv[1:], "said": os.environ.get("GLIBC_TUNABLES"), "pid": os.getpid(), "huge": huge}))
"""


def begun(**said: str) -> tuple[dict[str, object], list[str]]:
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"} | said
    done = subprocess.run(
        [sys.executable, "-c", TOLD, "a word", "--json"], env=environment, capture_output=True, text=True, check=True
    )
    told: dict[str, object] = json.loads(done.stdout)
    return told, [line for line in done.stderr.splitlines() if line.startswith("begun")]


@pytest.mark.skipif(not ENABLED.exists() or "[never]" in ENABLED.read_text(), reason="the kernel gives no huge pages")
def test_memory_lies_in_huge_pages() -> None:
    told, starts = begun()
    assert told["words"] == ["a word", "--json"]
    assert told["said"] == "glibc.malloc.hugetlb=1"
    assert starts == [f"begun {told['pid']}"] * 2  # in the very process that was begun
    assert isinstance(told["huge"], int)
    assert told["huge"] >= 32 << 10


def test_what_is_said_already_stays() -> None:
    assert begun(GLIBC_TUNABLES="glibc.malloc.check=0")[0]["said"] == "glibc.malloc.check=0:glibc.malloc.hugetlb=1"
    told, starts = begun(GLIBC_TUNABLES="glibc.malloc.hugetlb=0")
    assert told["said"] == "glibc.malloc.hugetlb=0"
    assert len(starts) == 1
