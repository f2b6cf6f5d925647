"""Whole fits by the command, killed and begun again: the bench of it, a few rounds of each kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "benchmarks" / "resume.py"


@pytest.mark.slow
@pytest.mark.parametrize(("rounds", "seed"), [(3, 4)])
def test_a_fit_that_is_killed_ends_in_the_very_bytes(rounds: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), str(rounds), str(seed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["right"], told["wrong"]) == (rounds, [])
    assert told["kills"] >= rounds
