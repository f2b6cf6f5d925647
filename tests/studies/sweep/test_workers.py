"""Several workers on one study: processes, kills, a torn journal, PostgreSQL, and what W&B keeps."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from asking import LINEAR, SPACE, TUNED, asked, refused, trials
from kills import Killing
from offline import runs

from stepladder.studies.sweep.storage import Journal, repair_journal


@pytest.mark.slow
def test_two_workers_share_a_grid(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, "+method.c=choice(1,10,100)", "+method.words=range(1,3)", "sweep.sampler=grid"]
    told = asked(capsys, tmp_path, [*words, "sweep.workers=2"])
    assert len({tuple(t["overrides"]) for t in trials(told)}) == len(trials(told)) == 6
    alone = asked(capsys, tmp_path / "alone", words)
    assert [t["values"] for t in trials(alone)] == [t["values"] for t in trials(told)]


@pytest.mark.slow
def test_a_workers_fault_is_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*TUNED, "training.precision=float32", "training.max_grad_norm=null", "sweep.workers=2"]
    words += ["training.learning_rate=choice(1e30,2e30,3e30,4e30)", "sweep.sampler=grid"]
    refused(capsys, tmp_path, words, "trials failed", "The loss is")


@pytest.mark.slow
def test_a_sweep_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    killing, draw = Killing(tmp_path, trials=3), random.Random(7)
    for number in range(2):
        assert killing.round(f"round-{number}", draw).faults == ()


@pytest.mark.slow
def test_a_sweep_on_postgresql_that_is_killed_loses_nothing(postgresql: str, tmp_path: Path) -> None:
    killing = Killing(tmp_path, postgresql, trials=3)
    assert killing.round(f"round-{random.SystemRandom().getrandbits(32)}", random.Random(3)).faults == ()


def test_postgresql_keeps_a_study(postgresql: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, SPACE, f"sweep.storage={postgresql}", f"sweep.name=kept-{random.SystemRandom().getrandbits(32)}"]
    first = trials(asked(capsys, tmp_path / "one", [*words, "sweep.trials=2"]))
    told = asked(capsys, tmp_path / "two", [*words, "sweep.trials=4"])
    assert told["trials"]["complete"] == 4
    assert trials(told)[:2] == first
    assert not (Path(told["folder"]) / "study.journal").exists()
    refused(capsys, tmp_path / "two", [*LINEAR, "+method.c=choice(1,2)", *words[3:]], "the study is another one")


def test_a_torn_journal_is_repaired(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = [*LINEAR, SPACE]
    told = asked(capsys, tmp_path, [*words, "sweep.trials=2"])
    before = trials(told)
    journal = Path(told["folder"]) / "study.journal"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":5,"worker_id":"x","trial')
    again = asked(capsys, tmp_path, [*words, "sweep.trials=3"])
    assert again["trials"]["complete"] == 3
    assert trials(again)[:2] == before
    assert journal.read_bytes().startswith(whole)
    assert b'"trial\n' in journal.with_suffix(".torn").read_bytes()


def test_every_cut_of_a_journal_leaves_its_whole_lines(tmp_path: Path) -> None:
    text = b'{"a":1}\n{"b":22}\n{"c":333}\n'
    for length in range(len(text) + 1):
        file = tmp_path / f"{length}.journal"
        file.write_bytes(text[:length])
        repair_journal(file)
        left = file.read_bytes()
        assert left == text[: text[:length].rfind(b"\n") + 1]
        repair_journal(file)
        assert file.read_bytes() == left
        Journal(file).append_logs([{"d": 4}])
        assert file.read_bytes() == left + b'{"d":4}\n'


def test_a_trial_of_a_dead_worker_is_taken_over_once_and_not_for_ever(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*LINEAR, SPACE, "sweep.trials=2", "sweep.name=orphaned"]
    dying = """
import os, sys
from pathlib import Path
from stepladder.studies.sweep.plan import plan
from stepladder.studies.sweep.study import Study
study = Study(plan(sys.argv[2:]), Path(sys.argv[1]) / "studies" / "orphaned")
print(study.claim().number, flush=True)
os.kill(os.getpid(), 9)
"""

    def die() -> int:
        done = subprocess.run([sys.executable, "-c", dying, str(tmp_path), *words], capture_output=True, check=False)
        return int(done.stdout)

    assert [die(), die()] == [0, 0]  # the second takes over what the first has left
    told = asked(capsys, tmp_path, words)
    assert told["trials"] == {"complete": 2, "pruned": 0, "failed": 0}
    words[3:] = ["sweep.trials=3", "sweep.name=orphaned"]
    assert [die() for _ in range(5)] == [2] * 5
    assert asked(capsys, tmp_path, words)["trials"] == {"complete": 2, "pruned": 0, "failed": 1}
    assert "was killed" in trials(told)[2]["reason"]


def test_wandb_keeps_every_trial_and_no_secret(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVICE_PASSWORD", "geheimnis-4711")
    words = [*TUNED, "tracking=wandb", "tracking.tags=[geheimnis-4711]", "training.precision=float32"]
    words += ["training.max_grad_norm=null", "training.learning_rate=choice(1e-3,1e30,2e-3,1e-6)", "sweep.sampler=grid"]
    words += ["training.epochs=4", "sweep.pruner=median", "+sweep.pruner.n_startup_trials=2"]
    told = asked(capsys, tmp_path, words)
    found = runs(tmp_path / "wandb")
    kept = {run["config"]["trial"]: run for run in found if run["job_type"] == "trial"}
    assert {run["group"] for run in found} == {told["study"]}
    states = {number: run["summary"]["state"] for number, run in kept.items()}
    assert states == {0: "complete", 1: "failed", 2: "complete", 3: "pruned"}
    for trial in trials(told):
        run = kept[trial["number"]]
        rate = float(trial["overrides"][0].partition("=")[2])
        assert run["config"]["parameters"] == {"training.learning_rate": rate}
        assert run["steps"] > 0 or trial["state"] == "failed"
    (summary,) = [run for run in found if run["job_type"] == "sweep"]
    assert summary["summary"]["best"]["value"] == told["best"]["value"]
    assert summary["summary"]["trials"]["failed"] == 1
    secret = b"geheimnis-4711"
    shown = [*(tmp_path / "wandb").rglob("*"), Path(told["report"])]
    assert not [f for f in shown if f.is_file() and secret in f.read_bytes()]
