"""Trials that end early because of what a fit reports as it trains."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from asking import TUNED, asked, trials

from stepladder.studies.sweep import work
from stepladder.studies.sweep.objectives import Objective

RATES = "training.learning_rate=choice(2e-3,3e-3,1e-6,2e-6,3e-6,4e-6)"  # the last four learn nothing
SWEEP = [*TUNED, "training.epochs=4", RATES, "sweep.sampler=grid", "sweep.objective=best_validation_loss"]
PRUNER = ["sweep.pruner=median", "+sweep.pruner.n_startup_trials=2"]


def test_plainly_bad_rates_are_pruned_and_the_best_stays(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    whole = asked(capsys, tmp_path / "whole", SWEEP)
    told = asked(capsys, tmp_path / "pruned", [*SWEEP, *PRUNER])
    assert told["trials"]["pruned"] >= 3
    assert told["trials"]["failed"] == 0
    assert sum(told["trials"].values()) == 6
    assert told["best"]["value"] == whole["best"]["value"]
    assert told["training_tokens"] <= 0.6 * whole["training_tokens"]
    for trial in trials(told):
        if trial["state"] == "pruned":
            assert trial["values"] is None
            assert 0 < trial["training_tokens"] < whole["training_tokens"] / 6
    done = list((tmp_path / "pruned" / "fits").glob("*/done.json"))
    assert len(done) == told["trials"]["complete"] + 1  # and the default; a fit that was cut short is no finished one


def stored(told: dict[str, Any]) -> optuna.Study:
    """The study as any tool of Optuna's opens it."""
    backend = optuna.storages.journal.JournalFileBackend(str(Path(told["folder"]) / "study.journal"))
    return optuna.load_study(study_name=told["study"], storage=optuna.storages.JournalStorage(backend))


@pytest.mark.parametrize("validate_with", ["loss", "objective"])
def test_optunas_storage_holds_values_of_the_metric_alone(
    validate_with: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rates = "training.learning_rate=choice(3e-3,2e-3,1e-6,2e-6,3e-6)"
    words = [*TUNED, rates, "sweep.sampler=grid", "sweep.pruner=median", "+sweep.pruner.n_startup_trials=2"]
    told = asked(capsys, tmp_path, [*words, "training.epochs=2", f"training.validate_with={validate_with}"])
    study = stored(told)
    assert study.metric_names == ["accuracy"]
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    for trial, ours in zip(study.trials, trials(told), strict=True):
        assert trial.value is None or 0 <= trial.value <= 1
        assert all(0 <= value <= 1 for value in trial.intermediate_values.values())
        assert bool(trial.intermediate_values) is (validate_with == "objective")
        assert ours["validation_losses"] == trial.user_attrs["validation_losses"]
        if ours["state"] == "pruned":
            assert len(ours["validation_losses"]) < 5  # of five: the last validation has nothing left to save
        else:
            assert len(ours["validation_losses"]) == 5
            assert trial.value == ours["values"][0]
    if validate_with == "loss":
        assert told["trials"]["pruned"] >= 1


def test_no_trial_is_pruned_at_its_last_validation() -> None:
    class Harsh:
        def report(self, loss: float, value: float | None, validation: int) -> bool:
            return True

    watching = work._Watching(Harsh(), SimpleNamespace(objectives=(Objective("accuracy", "classification", True),)))  # type: ignore[arg-type]
    assert watching(8, {"validation_loss": 1.0, "last": True}) is False
    with pytest.raises(optuna.TrialPruned):
        watching(4, {"validation_loss": 1.0, "last": False})


def test_a_pruned_trials_curve_counts_for_others_from_the_store(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    asked(capsys, tmp_path, [*SWEEP, "sweep.trials=2"])
    told = asked(capsys, tmp_path, [*SWEEP, *PRUNER])
    assert [t["state"] for t in trials(told)[:2]] == ["complete"] * 2
    assert told["trials"]["pruned"] >= 3


def test_the_objective_itself_is_reported_where_it_is_validated_with(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [*SWEEP[:-1], *PRUNER, "training.validate_with=objective"]
    told = asked(capsys, tmp_path, [*words, "sweep.trials=2"])
    (fit,) = [Path(told["test"]["folders"]["fit"])]
    lines = [json.loads(line) for line in (fit / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    found = [line["accuracy"] for line in lines if "validation_loss" in line]
    assert len(found) >= 3
    facts = json.loads((fit / "done.json").read_text(encoding="utf-8"))["facts"]
    assert facts["best_accuracy"] == max(found) == told["best"]["value"]
