"""A seeded part of `scripts/bench fuzz`: whatever comes in, an exit code, a word, and nothing out of place.

A sample for every change of the code; `scripts/bench fuzz cases=2000 seed=N` runs more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "scripts" / "benchmarks" / "fuzz.py"


@pytest.mark.parametrize(
    ("kinds", "cases"), [("config", 20), ("conf folder", 12), ("data", 20), ("store,checkpoint,model", 20)]
)
def test_nothing_hurts(kinds: str, cases: int) -> None:
    words = [f"kinds={kinds}", f"cases={cases}", "seed=7"]
    done = subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["cases"] >= cases
    assert report["faults"] == 0
    for found in report["kinds"].values():
        assert found["codes"]["0"] >= found["cases"] / 20  # not all is refused at the door


def test_a_fault_is_found(tmp_path: Path) -> None:
    """The bench itself: a command that writes outside, runs code or raises is reported as a fault."""
    script = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
for name in ("STEPLADDER_CACHE", "HOME", "TMPDIR"):
    os.environ[name] = str(Path(sys.argv[2]) / name)
from stepladder.cli import entry
from fuzzing import watched
from fuzzing.case import Case
sys.addaudithook(watched.GUARD)
def outside(asked):
    Path("beside.txt").write_text("x")
def runs(asked):
    os.system("true")
def raises(asked):
    raise KeyError("x")
def half(asked):
    (asked.outputs / "fits" / "x-0123456789abcdef").mkdir(parents=True)
    return {}
from stepladder.cli import arguments
listed = arguments.VERBS["list"]
arguments.VERBS = {**arguments.VERBS, "outside": listed, "runs": listed, "raises": listed, "half": listed}
for name, verb in (("outside", outside), ("runs", runs), ("raises", raises), ("half", half), ("list", None)):
    entry.VERBS[name] = verb or entry.VERBS[name]
    found = watched.tried(Case("planted", ((name,),)), Path(sys.argv[2]), None)
    print(json.dumps([name, found.faults]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(BENCH.parent), str(tmp_path)], capture_output=True, text=True, check=True
    )
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    for name, expected in (
        ("outside", "beside.txt"),
        ("runs", "os.system"),
        ("raises", "KeyError"),
        ("half", "half-written"),
    ):
        assert expected in " ".join(found[name]), found
    assert found["list"] == []
