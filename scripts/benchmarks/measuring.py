"""Runs measurements in processes of their own, in turn, and summarises their results."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PEERS = ROOT / ".bench" / "bin" / "python"

Spec = dict[str, Any]


def measured(script: str, task: str, spec: Spec) -> Spec:
    """Run a task of a script in a new process and return its result."""
    python = sys.executable if script == "ours" else str(PEERS)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        done = subprocess.run(
            [python, str(HERE / f"{script}.py"), task, file.name], capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"{script} {task} failed:\n{done.stderr[-3000:]}")
    found: Spec = json.loads(done.stdout.splitlines()[-1])
    print(f"  {script} {task}: {short(found)}", file=sys.stderr, flush=True)
    return found


def short(found: Spec) -> str:
    shown = {key: round(value, 3) for key, value in found.items() if isinstance(value, float)}
    if "rates" in found:
        shown["tokens/s"] = round(statistics.median(found["rates"]), 1)
    return str(shown)


def in_turn(times: int, *sides: Callable[[], Spec]) -> list[list[Spec]]:
    """Run each side `times` times, in turn, so that changes of the machine affect all sides."""
    found: list[list[Spec]] = [[] for _ in sides]
    for _ in range(times):
        for at, side in enumerate(sides):
            found[at].append(side())
    return found


def middle(runs: Sequence[Spec], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def rate(runs: Sequence[Spec]) -> float:
    """Tokens per second from the first step on: the median step of the median run."""
    return statistics.median(statistics.median(run["rates"]) for run in runs)


def written_a_second(runs: Sequence[Spec]) -> float:
    return middle(runs, "tokens_a_second")
