"""Ten processes start one experiment at once: one computes, nine read; a SIGKILL hands the work to another."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import barrier
import pytest

TEN = 10
FORKING = """
import os, sys
import torch, transformers, peft, pytorch_lightning  # once, for all that are forked
import stepladder.runs.run, stepladder.tuning.fine_tune
from stepladder.cli import main
folder, *words = sys.argv[1:]
children = []
for number in range(10):
    child = os.fork()
    if not child:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{number}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
        code = main(words)
        sys.stdout.flush()
        os._exit(code)
    children.append(child)
print(*children, flush=True)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)
"""
WAITS = "another process is making this (fits"


@pytest.mark.parametrize("killed", [False, True])
def test_one_computes_and_nine_read(tmp_path: Path, killed: bool) -> None:
    for number in range(TEN):
        (tmp_path / f"{number}.err").touch()
    words = [
        "run", "experiment=first_look", "method=finetune", "dataset.source.rows=40", "model.hidden=16",
        "training.epochs=2", "training.patience=null", *(barrier.held if killed else ()),
        "--outputs", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    environment = {**barrier.environment(tmp_path / "held", step=3), "OMP_NUM_THREADS": "1"}
    parent = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path), *words], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    children = [int(child) for child in parent.stdout.readline().split()]
    assert len(children) == TEN
    maker = None
    if killed:
        (process,) = barrier.wait_until_held(environment, parent)
        maker = children.index(process)
        _wait_for_nine(tmp_path, parent)
        os.kill(process, signal.SIGKILL)
    codes = [int(code) for code in parent.stdout.readline().split()]
    assert parent.wait() == 0
    assert codes == [-signal.SIGKILL if number == maker else 0 for number in range(TEN)], _errors(tmp_path)
    told = [json.loads((tmp_path / f"{n}.out").read_text(encoding="utf-8")) for n in range(TEN) if n != maker]
    for stage in ("fit", "predict", "score"):
        assert sum(not each["reused"][stage] for each in told) == 1
    assert all(each["scores"] == told[0]["scores"] and each["costs"] == told[0]["costs"] for each in told)
    assert all(each["folders"] == told[0]["folders"] for each in told)
    for kind in ("fits", "predictions", "scores"):
        (folder,) = (tmp_path / "out" / kind).iterdir()
        assert (folder / "done.json").exists()
    steps = [json.loads(line).get("step") for line in (Path(told[0]["folders"]["fit"]) / "metrics.jsonl").open()]
    assert steps == sorted(steps)


def _wait_for_nine(folder: Path, parent: subprocess.Popen[str]) -> None:
    """Return once nine of the ten report that they wait."""
    while sum(WAITS in file.read_text(encoding="utf-8") for file in folder.glob("*.err")) < TEN - 1:
        assert parent.poll() is None, _errors(folder)
        time.sleep(0.05)


def _errors(folder: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.err")))
