"""Measures sweeps: trials per hour compared with a fresh process per trial, overhead per trial, recovery from kills.

    scripts/bench sweep                all sections, on the embedded model; about half an hour on two cores
    scripts/bench sweep speed kills    some sections

The comparison is with Hydra's Optuna plugin: every trial is a new process that imports, loads the model, trains and
answers the validation rows, one after another. Both sides run the same points with empty stores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import kills

from stepladder.cli.threads import wait_briefly

TRIALS, WORKERS = 12, 2
FIXED = ["dataset=faq_route", "method=finetune", "decoding.probabilities=best", "tracking=none"]
SHORT = ["dataset.limit=1", "training.epochs=1"]
SPACE = ["training.learning_rate=tag(log,interval(1e-4,1e-2))", "adapter.r=choice(4,8,16)"]
RATES = ["training.learning_rate=choice(1e-3,2e-3,1e-6,3e-3,2e-6,3e-6,1.5e-3,4e-6,5e-6,6e-6,7e-6,8e-6)"]


def stepladder(words: Sequence[str], outputs: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "stepladder", "sweep", *FIXED, *words, "--outputs", str(outputs), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trials(result: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(result["folder"]) / "sweep.json").read_text())["all_trials"]
    return found


def one(words: Sequence[str], outputs: Path) -> None:
    """One trial in this process, from its command line to its score on the validation rows."""
    from stepladder.config.experiment import Experiment
    from stepladder.config.resolution import compose_resolved
    from stepladder.runs.run import RunContext, run
    from stepladder.store.store import Store

    composed, config = compose_resolved(words)
    run(Experiment.from_config(config, composed.choices).on("validation"), RunContext(Store(outputs)))


def speed(folder: Path) -> dict[str, Any]:
    """Trials per hour from the first command to the end of the last trial, for both sides."""
    words = [*SHORT, *SPACE, f"sweep.trials={TRIALS}", f"sweep.workers={WORKERS}", "sweep.sampler=random"]
    began = time.time()
    result = stepladder(words, folder / "sweep")
    made = trials(result)
    ours = study_seconds(result, began)
    began = time.time()
    for trial in made:
        point = [sys.executable, __file__, "one", str(folder / "fresh"), *FIXED, *SHORT, *trial["overrides"]]
        subprocess.run(point, check=True, stdout=subprocess.DEVNULL)
    theirs = time.time() - began
    return {
        "trials": TRIALS,
        "trials_an_hour": round(3600 * TRIALS / ours, 1),
        "trials_an_hour_of_fresh_processes": round(3600 * TRIALS / theirs, 1),
        "times_as_many": round(theirs / ours, 2),
        "seconds_outside_work_first": [round(s, 2) for s in outside(result, folder / "sweep", first=True)],
        "seconds_outside_work_later": [round(s, 2) for s in outside(result, folder / "sweep", first=False)],
    }


def study(result: dict[str, Any]) -> list[Any]:
    import optuna

    journal = optuna.storages.journal.JournalFileBackend(str(Path(result["folder"]) / "study.journal"))
    found: list[Any] = optuna.load_study(
        study_name=result["study"], storage=optuna.storages.JournalStorage(journal)
    ).trials
    return found


def study_seconds(result: dict[str, Any], began: float) -> float:
    return max(trial.datetime_complete.timestamp() for trial in study(result)) - began


def outside(result: dict[str, Any], outputs: Path, first: bool) -> list[float]:
    """Seconds outside training steps, validations and answers, of each worker's first trial or of its later ones."""
    seen: set[str] = set()
    found = []
    work = dict(working(outputs))
    for trial in sorted(study(result), key=lambda t: t.datetime_start):
        worker = trial.user_attrs["worker"]
        lasted = (trial.datetime_complete - trial.datetime_start).total_seconds()
        if (worker not in seen) is first:
            rate, rank = trial.params["training.learning_rate"], trial.params["adapter.r"]
            found.append(lasted - work[(rate, rank)])
        seen.add(worker)
    return found


def working(outputs: Path) -> list[tuple[tuple[float, int], float]]:
    """For every fit, by its point: the seconds of its steps, validations and answers to the validation rows."""
    import yaml

    found = []
    for file in (outputs / "predictions").glob("*/config.yaml"):
        config = yaml.safe_load(file.read_text())
        if config["rows"] != "validation":
            continue
        full = yaml.safe_load((file.parent / "full.yaml").read_text())
        facts = json.loads((file.parent / "done.json").read_text())["facts"]
        (fit,) = (outputs / "fits").glob(f"*-{full['fit'][:16]}")
        lines = [json.loads(line) for line in (fit / "metrics.jsonl").read_text().splitlines()]
        seconds = sum(line["seconds"] for line in lines) + facts["seconds_per_question"] * facts["questions"]
        tuning = config["method"]["tuning"]
        found.append(((tuning["training"]["learning_rate"], tuning["adapter"]["r"]), seconds))
    return found


def pruning(folder: Path) -> dict[str, Any]:
    """Training tokens of a space with clearly bad learning rates, with and without a pruner."""
    words = [
        *RATES,
        "sweep.sampler=grid",
        f"sweep.workers={WORKERS}",
        "dataset.limit=3",
        "training.epochs=3",
        "training.validate_every=0.5",
    ]
    whole = stepladder(words, folder / "whole")
    pruned = stepladder([*words, "sweep.pruner=median", "+sweep.pruner.n_startup_trials=3"], folder / "pruned")
    return {
        "pruned": pruned["trials"]["pruned"],
        "trials": TRIALS,
        "share_of_tokens": round(pruned["training_tokens"] / whole["training_tokens"], 3),
        "best": pruned["best"]["value"],
        "best_without": whole["best"]["value"],
    }


def killing(folder: Path) -> dict[str, Any]:
    return kills.main(20, os.environ.get("STEPLADDER_POSTGRESQL"))


SECTIONS = {"speed": speed, "pruning": pruning, "kills": killing}


def main(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"scripts/bench sweep has no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in names or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            found = SECTIONS[name](Path(folder))
        if name == "speed":
            found["median_seconds_outside_work_later"] = round(median(found["seconds_outside_work_later"]), 2)
        print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        wait_briefly()  # as the command does
        one(sys.argv[3:], Path(sys.argv[2]))
    else:
        main(sys.argv[1:])
