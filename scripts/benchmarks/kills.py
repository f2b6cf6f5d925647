"""Kills all processes of a sweep with SIGKILL at a random moment and resumes it, with two commands at a time.

    python scripts/benchmarks/kills.py ROUNDS "" SEED      with a journal
    python scripts/benchmarks/kills.py ROUNDS URL SEED     with PostgreSQL, and an output folder for each command

Every round must end with exactly the requested number of trials, none twice and none lost, and with the best trial of
an undisturbed sweep with the same seed. Trials are drawn independently, so their order does not matter.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forked

TRIALS = 8
WORDS = [
    "experiment=first_look", "method=finetune", "adapter.r=choice(2,4,8)", "training.epochs=range(1,4)",
    "training.learning_rate=tag(log,interval(1e-4,1e-1))", "training.validate_every=0.5", "sweep.sampler=random",
]  # fmt: skip


@dataclass(frozen=True)
class Round:
    """A round: the `seconds` until the kill, the number of trials `ended` and `running` then, and the faults found in
    the end."""

    seconds: float
    ended: int
    running: int
    faults: tuple[str, ...]


class Killing:
    """Runs sweeps of `trials` trials in `folder`, each with a new name, and kills them, mostly while trials are running
    and sometimes before the first one."""

    def __init__(self, folder: Path, storage: str | None = None, trials: int = TRIALS) -> None:
        self.folder, self.storage, self.asked = folder, storage, trials
        name = f"undisturbed-{os.getpid()}"
        output = self.begun(name, [folder / "undisturbed"])[0].communicate()[0]
        self.wanted: dict[str, Any] = json.loads(output)
        ends = [trial.datetime_complete for trial in self.trials(name, folder / "undisturbed")]
        begins = [trial.datetime_start for trial in self.trials(name, folder / "undisturbed")]
        self.lasts = (max(ends) - min(begins)).total_seconds()

    def begun(self, name: str, outputs: Sequence[Path]) -> list[forked.Command]:
        """Start a sweep command for each folder."""
        words = ["sweep", *WORDS, f"sweep.trials={self.asked}", f"sweep.name={name}", "--json"]
        words += [f"sweep.storage={self.storage}"] if self.storage else []
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # two commands share the cores
        return [forked.begin([*words, "--outputs", str(folder)], environment) for folder in outputs]

    def round(self, name: str, draw: random.Random) -> Round:
        shared = self.folder / name
        outputs = [shared / "one", shared / "two"] if self.storage else [shared, shared]
        seconds = draw.uniform(-0.2, 1.0) * self.lasts
        running = self.begun(name, outputs)
        began = time.perf_counter()
        while seconds > 0 and not self.trials(name, outputs[0]) and running[0].poll() is None:
            time.sleep(0.1)
        time.sleep(max(0.0, seconds) or draw.uniform(0, 2))
        seconds = time.perf_counter() - began
        for process in running:
            process.kill()
        for process in running:
            process.wait()
        states = [trial.state.name for trial in self.trials(name, outputs[0])]
        again = self.begun(name, outputs)
        outputs_again = [process.communicate()[0] for process in again]
        faults = [f"exit code {process.wait()}: {process.stderr[-500:]}" for process in again if process.wait()]
        found = [json.loads(text) for text in outputs_again if text]
        faults += [fault for each in found for fault in self.faults(each)]
        running_then = states.count("RUNNING")
        return Round(round(seconds, 2), len(states) - running_then, running_then, tuple(faults))

    def trials(self, name: str, outputs: Path) -> list[Any]:
        """The study's trials; none if it has not started."""
        import optuna

        if self.storage:
            storage: Any = self.storage.replace("postgresql://", "postgresql+psycopg://")
        else:
            journal = outputs / "studies" / name / "study.journal"
            if not journal.exists():
                return []
            storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
        if name not in optuna.get_all_study_names(storage):
            return []
        found: list[Any] = optuna.load_study(study_name=name, storage=storage).trials
        return found

    def faults(self, result: dict[str, Any]) -> list[str]:
        found = []
        if result["trials"] != {"complete": self.asked, "pruned": 0, "failed": 0}:
            found.append(f"trials: {result['trials']}")
        trials = json.loads((Path(result["folder"]) / "sweep.json").read_text())["all_trials"]
        if [t["number"] for t in trials] != list(range(self.asked)):
            found.append(f"numbers: {[t['number'] for t in trials]}")
        if result["best"] != self.wanted["best"]:
            found.append(f"best: {result['best']}, undisturbed {self.wanted['best']}")
        return found


def main(rounds: int, storage: str | None, seed: int = 0) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        killing = Killing(Path(folder), storage)
        draw, found = random.Random(seed), []
        for number in range(rounds):
            found.append(killing.round(f"round-{os.getpid()}-{number}", draw))
            print(f"  round {number + 1} of {rounds}: {found[-1]}", file=sys.stderr, flush=True)
    return {
        "rounds": rounds,
        "right": sum(not r.faults for r in found),
        "trials_ended_at_the_kill": [r.ended for r in found],
        "trials_running_at_the_kill": [r.running for r in found],
        "faults": [fault for r in found for fault in r.faults],
    }


if __name__ == "__main__":
    rounds, url, seed = (*sys.argv[1:], "", "")[:3]
    outcome = main(int(rounds), url or None, int(seed or 0))
    print(json.dumps(outcome))
    sys.exit(bool(outcome["faults"]))
