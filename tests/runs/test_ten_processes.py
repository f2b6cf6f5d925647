"""Ten processes start one experiment at once: one computes, nine read; a SIGKILL hands the work to another."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import barrier
import forked
import pytest

TEN = 10
WAITS = "another process is making this (fits"


@pytest.mark.parametrize("killed", [False, True])
def test_one_computes_and_nine_read(tmp_path: Path, killed: bool) -> None:
    words = [
        "run", "experiment=first_look", "method=finetune", "dataset.source.rows=40", "model.hidden=16",
        "training.epochs=2", "training.patience=null", *(barrier.held if killed else ()),
        "--outputs", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    environment = {**barrier.environment(tmp_path / "held", step=3), "OMP_NUM_THREADS": "1"}
    commands = [forked.begin(words, environment) for _ in range(TEN)]
    maker = None
    if killed:
        while not (held := barrier.arrived(environment)) or sum(WAITS in each.stderr for each in commands) < TEN - 1:
            assert all(each.poll() is None for each in commands), [each.stderr for each in commands]
            time.sleep(0.05)
        (maker,) = (each for each in commands if each.pid in held)
        maker.kill()
    outs = [each.communicate()[0] for each in commands]
    codes = [each.returncode for each in commands]
    assert codes == [-signal.SIGKILL if each is maker else 0 for each in commands], [each.stderr for each in commands]
    told = [json.loads(out) for each, out in zip(commands, outs, strict=True) if each is not maker]
    for stage in ("fit", "predict", "score"):
        assert sum(not each["reused"][stage] for each in told) == 1
    assert all(each["scores"] == told[0]["scores"] and each["costs"] == told[0]["costs"] for each in told)
    assert all(each["folders"] == told[0]["folders"] for each in told)
    for kind in ("fits", "predictions", "scores"):
        (folder,) = (tmp_path / "out" / kind).iterdir()
        assert (folder / "done.json").exists()
    steps = [json.loads(line).get("step") for line in (Path(told[0]["folders"]["fit"]) / "metrics.jsonl").open()]
    assert steps == sorted(steps)
