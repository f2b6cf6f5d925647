"""Kills a fit at random moments with SIGKILL and resumes it with the same command, until it is done.

    scripts/bench resume [ROUNDS] [SEED]      thirty rounds by default, some minutes

Every round must end with the same bytes of the adapter, the same metrics and predictions (except seconds) and the same
files as an uninterrupted fit. The cases alternate: LoRA with dropout, full tuning, accumulated micro-batches, a long
warm-up, validations within epochs, NEFTune with LoRA+, PiSSA. Every other pass over the cases writes checkpoints as
often as possible.

Each command is a process forked from this one, which has imported everything and computed nothing. Otherwise most kills
would happen during imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE = [
    "experiment=first_look", "method=finetune", "training=default", "training.epochs=4", "training.patience=null",
    "adapter.lora_dropout=0.1",
]  # fmt: skip
CASES = {
    "lora": BASE,
    "full": [*BASE[:-1], "adapter=full"],
    "accumulation": [*BASE, "compute.micro_batch=3"],
    "warm-up": [*BASE, "training.warmup=0.5", "training.schedule=linear"],
    "mid-epoch": [*BASE, "training.validate_every=0.3"],
    "noise": [*BASE, "training.neftune_noise_alpha=5", "training.lora_plus_ratio=8"],
    "pissa": [*BASE, "+adapter.init_lora_weights=pissa_niter_4"],
}
UNEQUAL = ("seconds", "memory")  # parts of the names of figures that depend on the clock or the machine


@dataclass(frozen=True)
class Round:
    """A fit of `case`: the number of steps written at each kill, the step of the newest checkpoint then (0: none), and
    the results that were `wrong` in the end."""

    case: str
    steps: tuple[int, ...]
    from_step: tuple[int, ...]
    wrong: tuple[str, ...]


class Killing:
    """Runs fits under `folder` and compares them with an uninterrupted fit of the same case."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wanted: dict[str, dict[str, Any]] = {}
        self.lasts: dict[str, float] = {}
        self.total: dict[str, int] = {}
        self.rounds = 0
        _import_everything()

    def round(self, case: str, draw: random.Random, often: bool) -> Round:
        if case not in self.wanted:
            outputs = self.folder / f"{case}-undisturbed"
            self.lasts[case] = self._undisturbed(case, outputs)
            self.wanted[case], self.total[case] = outcome(outputs), steps_in(outputs)
        self.rounds += 1
        outputs = self.folder / f"{case}-{self.rounds}"
        steps, from_step = [], []
        for _ in range(draw.choice((1, 1, 2, 3))):
            begun = self.begun(case, outputs, often)
            _wait_for(lambda: (outputs / "fits").is_dir(), begun)
            at = max(0, draw.randint(-3, self.total[case] + 1))
            _wait_for(lambda at=at: steps_in(outputs) >= at, begun)
            time.sleep(draw.uniform(0.0, 2.0) * self.lasts[case] / self.total[case])
            os.kill(begun, signal.SIGKILL)
            os.waitpid(begun, 0)
            steps.append(steps_in(outputs))
            whole = outputs.glob("fits/*/checkpoints/step-*.safetensors")
            from_step.append(max((int(path.name[5:14]) for path in whole), default=0))
        ended = os.waitstatus_to_exitcode(os.waitpid(self.begun(case, outputs, often), 0)[1])
        wrong = [f"exit code {ended}"] if ended else []
        found = {} if ended else outcome(outputs)
        wrong += [name for name, value in self.wanted[case].items() if found.get(name) != value]
        return Round(case, tuple(steps), tuple(from_step), tuple(wrong))

    def begun(self, case: str, outputs: Path, often: bool = False) -> int:
        """Start the command in a forked process and return its process id."""
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            code = self._command(case, outputs, often)
        finally:
            os._exit(code)

    def _command(self, case: str, outputs: Path, often: bool) -> int:
        from stepladder.cli.entry import main
        from stepladder.tuning import checkpoint

        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if often:
            checkpoint.TIMES_APART, checkpoint.SECONDS_APART = 0, 0.0
        return main(["run", *CASES[case], "--outputs", str(outputs)])

    def _undisturbed(self, case: str, outputs: Path) -> float:
        """Run the case without a kill. Returns the seconds from the creation of the fit's folder to its end."""
        process = self.begun(case, outputs)
        _wait_for(lambda: (outputs / "fits").is_dir(), process)
        began = time.perf_counter()
        _wait_for(lambda: any(outputs.glob("fits/*/done.json")), process)
        lasted = time.perf_counter() - began
        os.waitpid(process, 0)
        return lasted


def _import_everything() -> None:
    import stepladder.models.toy
    import stepladder.runs.run
    import stepladder.studies.variants
    import stepladder.tuning.lightning_module

    stepladder.models.ToyCheckpoint().load()


def _wait_for(there: Any, process: int) -> None:
    """Wait until `there` returns true or the process has ended; the process is not reaped."""
    while not there() and os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.002)


def steps_in(outputs: Path) -> int:
    """The number of steps that a fit has written."""
    return sum(file.read_text().count('"loss"') for file in outputs.glob("fits/*/metrics.jsonl"))


def outcome(outputs: Path) -> dict[str, Any]:
    """Everything in a run that must be the same each time."""
    (fit,) = (outputs / "fits").iterdir()
    found: dict[str, Any] = {f"bytes of {p.name}": p.read_bytes() for p in (fit / "artefact").iterdir()}
    made = (path for kind in ("fits", "predictions", "scores") for path in (outputs / kind).rglob("*"))
    found["files"] = sorted(str(path.relative_to(outputs)) for path in made if path.is_file())
    found["metrics"] = _timeless([json.loads(line) for line in (fit / "metrics.jsonl").read_text().splitlines()])
    found["facts"] = _timeless(json.loads((fit / "done.json").read_text())["facts"])
    (file,) = outputs.glob("predictions/*/predictions.jsonl")
    found["predictions"] = _timeless([json.loads(line) for line in file.read_text().splitlines()])
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    if isinstance(value, dict):
        return {name: _timeless(v) for name, v in value.items() if not any(word in name for word in UNEQUAL)}
    return value


def main(rounds: int = 30, seed: int = 0, cases: Sequence[str] = tuple(CASES)) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        killing, draw, found = Killing(Path(folder)), random.Random(seed), []
        for number in range(rounds):
            found.append(killing.round(cases[number % len(cases)], draw, often=number // len(cases) % 2 == 1))
            print(f"  round {number + 1} of {rounds}: {found[-1]}", file=sys.stderr, flush=True)
        log = (Path(folder) / "log").read_text()
    return {
        "rounds": rounds,
        "right": sum(not each.wrong for each in found),
        "kills": sum(len(each.steps) for each in found),
        "kills_with_a_checkpoint": sum(step > 0 for each in found for step in each.from_step),
        "checkpoints_not_used": log.count("is not used"),
        "steps_at_the_kills": [step for each in found for step in each.steps],
        "wrong": [[each.case, *each.wrong] for each in found if each.wrong],
    }


if __name__ == "__main__":
    report = main(*(int(word) for word in sys.argv[1:3]))
    print(json.dumps(report))
    sys.exit(bool(report["wrong"]))
