"""A process of a fit that dies, or the one that started it: nothing hangs, nothing is lost, nothing runs on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ranked import DDP, FSDP, Run, outcome, running

from stepladder.cli import main

LONG = ("training.epochs=15",)
DROPPING = (*DDP, *LONG, "adapter.lora_dropout=0.2", "compute.micro_batch=2")
SHARDED = (*FSDP, *LONG, "adapter=full")


def begun(words: list[str], outputs: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "stepladder", *words, *more, "--outputs", str(outputs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(there: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not there():
        if process.poll() is not None:
            pytest.fail(f"it ended too early: {process.communicate()}")
        time.sleep(0.01)


def cut(
    words: list[str],
    outputs: Path,
    more: tuple[str, ...],
    lines: int,
    whom: Callable[[int], int],
    how: signal.Signals,
) -> tuple[int, str]:
    """Exit code and words of a run in which, once it has so many lines of metrics, the process `whom` names gets a
    signal."""
    process = begun(words, outputs, *more)
    wait_for(lambda: len(running(outputs)) == 2 and lines_in(outputs) >= lines, process)
    os.kill(whom(process.pid), how)
    told = process.communicate()[1]
    for _ in range(200):
        if not running(outputs):
            break
        time.sleep(0.05)
    assert running(outputs) == {}
    assert not list(outputs.glob("fits/*/done.json"))
    assert "Traceback" not in told
    return process.returncode, told


def lines_in(outputs: Path) -> int:
    return sum(file.read_text().count("\n") for file in outputs.glob("fits/*/metrics.jsonl"))


def assert_as_undisturbed(outputs: Path, wanted: dict[str, Any]) -> None:
    found = outcome(outputs)
    for file in (wanted["folder"] / "artefact").iterdir():
        assert (found["folder"] / "artefact" / file.name).read_bytes() == file.read_bytes(), file.name
    timeless = [[{k: v for k, v in line.items() if k != "seconds"} for line in f["lines"]] for f in (found, wanted)]
    assert timeless[0] == timeless[1]
    assert found["names"] == wanted["names"]


@pytest.mark.slow
def test_after_a_killed_rank_and_a_killed_parent_it_ends_in_the_very_bytes(
    words: list[str], run: Run, tmp_path: Path
) -> None:
    code, told = cut(words, tmp_path, DROPPING, 30, lambda _: running(tmp_path)[1], signal.SIGKILL)
    assert code == 2
    assert "Rank 1 of 2 was killed by SIGKILL" in told
    code, _ = cut(words, tmp_path, DROPPING, 60, lambda parent: parent, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert main([*words, *DROPPING, "--outputs", str(tmp_path)]) == 0
    assert_as_undisturbed(tmp_path, run(*DROPPING))


@pytest.mark.slow
def test_weights_in_pieces_go_on_after_ctrl_c_here_and_on_one_device(
    words: list[str], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = cut(words, tmp_path / "two", SHARDED, 30, lambda parent: parent, signal.SIGINT)
    assert (code, "interrupted" in told) == (130, True)
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    assert main([*words, *SHARDED, "--outputs", str(tmp_path / "two")]) == 0
    wanted = run(*SHARDED)
    assert_as_undisturbed(tmp_path / "two", wanted)
    capsys.readouterr()
    assert main([*words, *SHARDED[len(FSDP) :], "--outputs", str(tmp_path / "one")]) == 0
    assert "this fit was begun on 2 devices, not 1, and goes on" in capsys.readouterr().err
    for ours, theirs in zip(outcome(tmp_path / "one")["lines"], wanted["lines"], strict=True):
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), abs=1e-3)
