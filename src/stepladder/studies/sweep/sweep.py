"""The sweep as the command line asks for it: workers until the study ends, then what was found.

Holds validation experiments only: it returns a winner and closes. Scoring the winner on test rows is the verb's affair;
`concluded` writes down what came of it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.config.experiment import Experiment
from stepladder.config.experiment_writer import as_experiment, copy_options
from stepladder.errors import ConfigError, Fault, StepladderError, UserError
from stepladder.io.files import read_json, write_text
from stepladder.runs.run import Circumstances, Run, run_prepared
from stepladder.runs.stages import prepare
from stepladder.runs.tracking import open_tracker
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.storage import answering
from stepladder.studies.sweep.study import Study
from stepladder.studies.sweep.trials import Trial, counts, front, why_it_stopped
from stepladder.studies.sweep.watch import seconds_left, standing, watching
from stepladder.studies.sweep.work import circumstances, public_reason, work

__all__ = ["circumstances", "concluded", "search", "status", "told_lines"]

SECONDS_BETWEEN_LOOKS = 0.2
Page = Callable[[Mapping[str, Any], Sequence[Trial], SweepPlan, Sequence[Mapping[str, float]]], str]
REPLACED = 10
"""So many killed workers are replaced; then something else is wrong."""


@dataclass(frozen=True)
class Found:
    """An ended study. `best`: the winner, or the front; `default`: the objectives' values without anything varied."""

    plan: SweepPlan
    folder: Path
    trials: tuple[Trial, ...]
    best: tuple[Trial, ...]
    reason: str
    default: tuple[float, ...] | None
    importances: tuple[Mapping[str, float], ...]

    @property
    def winner(self) -> Experiment | None:
        """The best point, on validation rows; None where several objectives leave the choice to a person."""
        if len(self.plan.objectives) > 1:
            return None
        return self.plan.draft.composed(self.best[0].overrides)[0]


def search(planned: SweepPlan, words: Sequence[str], around: Circumstances) -> Found:
    """Run the study to its end. `words` are the command line, for workers that are processes of their own.

    Raises UserError where too many trials fail, or where none was finished.
    """
    with answering():
        return _searched(planned, words, around)


def _searched(planned: SweepPlan, words: Sequence[str], around: Circumstances) -> Found:
    if planned.settings.workers > 1 and around.compute.nodes > 1 and around.compute.slurm is None:
        what = "several workers can not share the nodes that one command was started on"
        raise ConfigError(Fault("sweep.workers", what, "say sweep.workers=1, or compute=slurm"))
    folder = around.store.study(planned.study)
    study = Study(planned, folder)
    before = study.trials()
    if before:
        around.progress.note(f"going on with study {planned.study}: {standing(planned, before)}")
    with watching(planned, study.trials, around.progress):
        if planned.settings.workers == 1:
            work(planned, around)
        elif study.ended(before) is None or any(t.state == "running" for t in before):
            _workers(planned, words, around, study)
    trials = study.trials()
    reason = study.ended(trials) or "stopped"
    _not_failed(planned, trials, reason)
    best = front(trials, planned.objectives)
    default = _default(planned, around)
    shares = tuple(study.importances())
    return Found(planned, folder, tuple(trials), tuple(best), reason, default, shares)


def _workers(planned: SweepPlan, words: Sequence[str], around: Circumstances, study: Study) -> None:
    """Processes that work until the study has ended; one that was killed is replaced."""
    told = {
        "words": list(words), "trust": list(around.trust), "outputs": str(around.store.root), "parent": os.getpid(),
        "config_dir": str(planned.draft.config_dir) if planned.draft.config_dir else None,
    }  # fmt: skip
    logs = around.store.study(planned.study) / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    killed = 0
    alive = [
        _started(told, logs / f"{number}.log", planned.settings.workers) for number in range(planned.settings.workers)
    ]
    try:
        while alive:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for place, worker in enumerate(alive):
                code = worker.poll()
                if code is not None and code < 0 and killed < REPLACED and study.ended(study.trials()) is None:
                    killed += 1
                    around.progress.note(f"a worker was killed (signal {-code}); another takes over its trial")
                    alive[place] = _started(told, logs / f"{place}.log", planned.settings.workers)
                elif code:
                    _raise(code, logs / f"{place}.log")
            alive = [worker for worker in alive if worker.poll() is None]
    finally:
        for worker in alive:
            worker.terminate()
        for worker in alive:
            worker.wait()


def _started(told: Mapping[str, Any], log: Path, workers: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with log.open("ab") as stream:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "stepladder.studies.sweep.work"],
            stdin=subprocess.PIPE, stdout=stream, stderr=stream,
            env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **os.environ},
        )  # fmt: skip
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(told).encode())
    worker.stdin.close()
    return worker


def _raise(code: int, log: Path) -> None:
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        what = f"{REPLACED} workers were killed and replaced, and one more was killed (signal {-code})"
        raise UserError(what, str(log), "see whether memory runs out, fewer sweep.workers need less")
    if code == 2:
        start = max((at for at, text in enumerate(said) if text.startswith("stepladder: ")), default=0)
        raise UserError(
            "\n".join(said[start:]).removeprefix("stepladder: "), str(log), "mend it and give the command again"
        )
    raise StepladderError(f"A worker ended with exit code {code}:\n" + "\n".join(said[-20:]))


def _not_failed(planned: SweepPlan, trials: Sequence[Trial], reason: str) -> None:
    failed = [t for t in trials if t.state == "failed"]
    if reason == "failures" or not any(t.state == "complete" for t in trials):
        reasons = Counter((t.reason or "unknown").split("\n")[0] for t in failed).most_common(3)
        told = "; ".join(f"{text} ({count} times)" for text, count in reasons) or "all were pruned"
        raise UserError(
            f"{len(failed)} of {len(trials)} trials failed, and the sweep stops: {told}",
            f"sweep.space of study {planned.study}",
            "mend what they tell, narrow the space, or let more fail with sweep.max_failures=N",
        )


def _default(planned: SweepPlan, around: Circumstances) -> tuple[float, ...] | None:
    """What the objectives are where nothing is varied; None where that is no experiment, or fails."""
    try:
        experiment, _ = planned.draft.composed(())
        made = run_prepared(prepare(experiment, around.trust, around.read, around.store.shared()), around)
        return tuple(objective.value(made) for objective in planned.objectives)
    except UserError as error:
        around.progress.note(f"note: the default could not be run beside the trials: {error}")
        return None


def concluded(found: Found, test: Run | None, around: Circumstances, page: Page) -> dict[str, Any]:
    """Write best.yaml, the report and the study's own W&B run. Returns the object that `sweep --json` prints.

    Args:
        found: The ended study.
        test: The winner's run on the test rows.
        around: Where it ran.
        page: Makes the text of report.html.
    """
    planned = found.plan
    told = _told(found, test)
    for place, trial in enumerate(found.best):
        text = as_experiment([*planned.draft.fixed, *trial.overrides], planned.draft.config_dir, without=["sweep"])
        name = "best" if place == 0 else f"front-{place + 1}"
        write_text(found.folder / "experiment" / f"{name}.yaml", text)
        if place == 0:
            write_text(found.folder / "best.yaml", text)
    if planned.draft.config_dir is not None:
        copy_options(planned.draft.config_dir, found.folder)
    html = page(told, found.trials, planned, found.importances)
    write_text(found.folder / "report.html", html)
    whole = {**told, "all_trials": [t.as_dict() for t in found.trials]}
    if read_json(found.folder / "sweep.json") != json.loads(json.dumps(whole)):
        config = {"terms": planned.terms, "settings": _settings(planned)}
        with open_tracker(
            around.tracking, around.store.root, f"{planned.study}-summary", group=planned.study, job_type="sweep",
            config=config, name=f"{planned.study} summary",
        ) as tracker:  # fmt: skip
            tracker.log_state({k: v for k, v in told.items() if k not in ("folder", "report", "experiment")})
            public = [replace(t, reason=public_reason(t.reason, around.tracking)) for t in found.trials]
            tracker.log_page("report", page(told, public, planned, found.importances))
        write_text(found.folder / "sweep.json", json.dumps(whole, indent=1, ensure_ascii=False))
    return told


def _settings(planned: SweepPlan) -> dict[str, Any]:
    kept = asdict(replace(planned.settings, conditions=None, sampler=None, pruner=None))
    return {k: v for k, v in kept.items() if v is not None and k != "storage"}


def _told(found: Found, test: Run | None) -> dict[str, Any]:
    several = len(found.plan.objectives) > 1
    best = [_best(trial, several) for trial in found.best]
    default = found.default if several or found.default is None else found.default[0]
    (first, *_) = found.plan.objectives
    beaten = None if found.default is None or several else first.better(found.best[0].values[0], found.default[0])  # type: ignore[index]
    return {
        "study": found.plan.study,
        "best": best if several else best[0],
        "trials": counts(found.trials),
        "folder": str(found.folder),
        "objective": [o.name for o in found.plan.objectives],
        "ended_by": found.reason,
        "default": default,
        "beats_default": beaten,
        "importances": list(found.importances),
        "training_tokens": sum(t.tokens for t in found.trials),
        "test": None if test is None else {"scores": test.scores, "folders": test.as_dict()["folders"]},
        "experiment": str(found.folder / "best.yaml"),
        "report": str(found.folder / "report.html"),
    }


def _best(trial: Trial, several: bool) -> dict[str, Any]:
    values = list(trial.values or ())
    return {"trial": trial.number, "overrides": list(trial.overrides), "value": values if several else values[0]}


def status(planned: SweepPlan, around: Circumstances) -> dict[str, Any]:
    """What runs, what is best, time left. Raises UserError where the study has not begun."""
    folder = around.store.study(planned.study)
    study = Study(planned, folder, begin=False)
    trials = study.trials()
    best = [_best(t, len(planned.objectives) > 1) for t in front(trials, planned.objectives)]
    running = [
        {"trial": t.number, "overrides": list(t.overrides), "worker": t.worker} for t in trials if t.state == "running"
    ]
    return {
        "study": planned.study,
        "best": best if len(planned.objectives) > 1 else next(iter(best), None),
        "trials": {**counts(trials), "running": len(running)},
        "folder": str(folder),
        "running": running,
        "ended_by": study.ended(trials),
        "seconds_left": seconds_left(planned, trials),
    }


def told_lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The outcome for people."""
    best = told["best"] if isinstance(told["best"], list) else [told["best"]]
    counted = ", ".join(f"{count} {state}" for state, count in told["trials"].items())
    yield f"study {told['study']}: {counted}"
    yield f"The study stopped: {why_it_stopped(told)}."
    for each in best:
        values = each["value"] if isinstance(each["value"], list) else [each["value"]]
        figures = ", ".join(f"{name} {value:.4g}" for name, value in zip(told["objective"], values, strict=True))
        yield f"best: {figures} on validation, trial {each['trial']}: {' '.join(each['overrides'])}"
    if told["beats_default"] is not None:
        word = "beats" if told["beats_default"] else "does not beat"
        yield f"it {word} the default configuration ({told['default']:.4g} on validation)"
    for suite, metrics in (told["test"] or {"scores": {}})["scores"].items():
        for name, m in metrics.items():
            yield f"on test, {suite}.{name}: {m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}], n={m['n']}"
    command = shlex.join(["stepladder", "run", "--config-dir", str(told["folder"]), "experiment=best"])
    yield f"run the best again: {command}"
    yield f"report: {told['report']}"
