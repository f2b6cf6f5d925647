"""A process of a fit that dies, or the one that started it: nothing hangs, nothing is lost, nothing runs on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import barrier
import forked
import pytest
from ranked import DDP, FSDP, SHARDED, Run, outcome, running

from stepladder.cli.entry import main

DROPPING = (*DDP, *barrier.held, "adapter.lora_dropout=0.2", "compute.micro_batch=2")


def cut(
    words: list[str],
    outputs: Path,
    more: tuple[str, ...],
    step: int,
    whom: Callable[[int], int],
    how: signal.Signals,
) -> tuple[int, str]:
    """Exit code and stderr of a run that is held before `step` while the process `whom` names gets a signal."""
    environment = barrier.environment(outputs.parent / f"held-{outputs.name}-{step}", step, processes=2)
    process = forked.begin([*words, *more, "--outputs", str(outputs)], environment)
    held = barrier.wait_until_held(environment, process)
    ranks = running(outputs)
    assert ({*ranks}, {*ranks.values()}) == ({0, 1}, {*held})
    os.kill(whom(process.pid), how)
    code, told = process.wait(), process.communicate()[1]
    while any(alive(rank) for rank in ranks.values()):  # a rank that is left alive hangs here until the test's timeout
        time.sleep(0.02)
    assert not list(outputs.glob("fits/*/done.json"))
    assert "Traceback" not in told
    return code, told


def alive(process: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


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
    code, told = cut(words, tmp_path, DROPPING, 8, lambda _: running(tmp_path)[1], signal.SIGKILL)
    assert code == 2
    assert "Rank 1 of 2 was killed by SIGKILL" in told
    code, _ = cut(words, tmp_path, DROPPING, 14, lambda parent: parent, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert main([*words, *DROPPING, "--outputs", str(tmp_path)]) == 0
    assert_as_undisturbed(tmp_path, run(*DROPPING))


@pytest.mark.slow
def test_weights_in_pieces_go_on_after_ctrl_c_here_and_on_one_device(
    words: list[str], run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = cut(words, tmp_path / "two", SHARDED, 8, lambda parent: parent, signal.SIGINT)
    assert (code, "Interrupted" in told) == (130, True)
    shutil.copytree(tmp_path / "two", tmp_path / "one")
    assert main([*words, *SHARDED, "--outputs", str(tmp_path / "two")]) == 0
    wanted = run(*SHARDED)
    assert_as_undisturbed(tmp_path / "two", wanted)
    capsys.readouterr()
    assert main([*words, *SHARDED[len(FSDP) :], "--outputs", str(tmp_path / "one")]) == 0
    assert "this fit began on 2 devices and continues on 1" in capsys.readouterr().err
    for ours, theirs in zip(outcome(tmp_path / "one")["lines"], wanted["lines"], strict=True):
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), abs=1e-3)
