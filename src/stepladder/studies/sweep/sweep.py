"""A sweep: workers run trials until the study ends, then its result is written.

All trials run on validation rows. The caller scores the winner on the test rows and passes that run to `concluded`.
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

from stepladder.config.experiment import Experiment
from stepladder.config.experiment_writer import as_experiment, copy_options
from stepladder.errors import ConfigError, Fault, StepladderError, UserError
from stepladder.io import serialise
from stepladder.io.files import read_json, write_text
from stepladder.io.serialise import to_plain
from stepladder.runs.run import Run, RunContext, run_prepared
from stepladder.runs.stages import prepare
from stepladder.runs.tracking import open_tracker
from stepladder.studies.sweep.instructions import INSTRUCTION
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.results import (
    BestTrial,
    RunningTrial,
    StoredSweep,
    SweepResult,
    SweepStatus,
    Trial,
    WinnerOnTest,
)
from stepladder.studies.sweep.selection import luck_of, plain_on_test
from stepladder.studies.sweep.storage import answering
from stepladder.studies.sweep.study import Study
from stepladder.studies.sweep.trials import counts, front
from stepladder.studies.sweep.watch import seconds_left, standing, watching
from stepladder.studies.sweep.work import public_reason, sweep_context, work
from stepladder.types import Plain

__all__ = ["concluded", "search", "status", "summary", "sweep_context"]

SECONDS_BETWEEN_LOOKS = 0.2
Page = Callable[[SweepResult, Sequence[Trial], SweepPlan], str]
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

    @property
    def plain(self) -> Experiment | None:
        """The experiment with nothing varied, with which a searched instruction is compared on the test rows."""
        searched = self.plan.searches_instructions and self.winner is not None and self.default is not None
        return self.plan.draft.composed(())[0] if searched else None


@answering()
def search(planned: SweepPlan, words: Sequence[str], context: RunContext) -> Found:
    """Run the study to its end. `words` are the command line, for workers that are processes of their own.

    Raises UserError where too many trials fail, or where none was finished.
    """
    if planned.settings.workers > 1 and context.compute.nodes > 1 and context.compute.slurm is None:
        what = "several workers can not share the nodes that one command was started on"
        raise ConfigError(Fault("sweep.workers", what, "say sweep.workers=1, or compute=slurm"))

    folder = context.store.study(planned.study)
    study = Study(planned, folder)
    before = study.trials()
    if before:
        context.progress.note(f"going on with study {planned.study}: {standing(planned, before)}")
    with watching(planned, study.trials, context.progress):
        if planned.settings.workers == 1:
            work(planned, context)
        elif study.ended(before) is None or any(t.state == "running" for t in before):
            _workers(planned, words, context, study)
    trials = study.trials()
    reason = study.ended(trials) or "stopped"
    _not_failed(planned, trials, reason)
    best = tuple(front(trials, planned.objectives))
    return Found(planned, folder, tuple(trials), best, reason, _default(planned, context), study.importances())


def _workers(planned: SweepPlan, words: Sequence[str], context: RunContext, study: Study) -> None:
    """Processes that work until the study has ended; one that was killed is replaced."""
    order = {
        "words": list(words), "trust": list(context.trust), "outputs": str(context.store.root), "parent": os.getpid(),
        "config_dir": str(planned.draft.config_dir) if planned.draft.config_dir else None,
    }  # fmt: skip
    logs = context.store.study(planned.study) / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    killed, count = 0, planned.settings.workers
    alive = {number: _started(order, logs / f"{number}.log", count) for number in range(count)}
    try:
        while alive:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for number, worker in alive.items():
                code = worker.poll()
                if code is not None and code < 0 and killed < REPLACED and study.ended(study.trials()) is None:
                    killed += 1
                    context.progress.note(f"a worker was killed (signal {-code}); another takes over its trial")
                    alive[number] = _started(order, logs / f"{number}.log", count)
                elif code:
                    _raise(code, logs / f"{number}.log")
            alive = {number: worker for number, worker in alive.items() if worker.poll() is None}
    finally:
        for worker in alive.values():
            worker.terminate()
        for worker in alive.values():
            worker.wait()


def _started(order: Plain, log: Path, workers: int) -> subprocess.Popen[bytes]:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with log.open("ab") as stream:
        worker = subprocess.Popen(
            [sys.executable, "-P", "-m", "stepladder.studies.sweep.work"],
            stdin=subprocess.PIPE, stdout=stream, stderr=stream,
            env={"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, **os.environ},
        )  # fmt: skip
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(order).encode())
    worker.stdin.close()
    return worker


def _raise(code: int, log: Path) -> None:
    output = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    if code == 130:
        raise KeyboardInterrupt
    if code < 0:
        what = f"{REPLACED} workers were killed and replaced, and one more was killed (signal {-code})"
        raise UserError(what, str(log), "see whether memory runs out, fewer sweep.workers need less")
    if code == 2:
        start = max((at for at, text in enumerate(output) if text.startswith("stepladder: ")), default=0)
        what = "\n".join(output[start:]).removeprefix("stepladder: ")
        raise UserError(what, str(log), "fix it and run the command again")
    raise StepladderError(f"A worker ended with exit code {code}:\n" + "\n".join(output[-20:]))


def _not_failed(planned: SweepPlan, trials: Sequence[Trial], reason: str) -> None:
    """Raise UserError where too many trials failed, or none was finished."""
    if reason != "failures" and any(t.state == "complete" for t in trials):
        return
    failed = [(t.reason or "unknown").split("\n")[0] for t in trials if t.state == "failed"]
    why = "; ".join(f"{text} ({count} times)" for text, count in Counter(failed).most_common(3)) or "all were pruned"
    raise UserError(
        f"{len(failed)} of {len(trials)} trials failed, and the sweep stops: {why}",
        f"sweep.space of study {planned.study}",
        "fix the reported problems, narrow the space, or allow more failures with sweep.max_failures=N",
    )


def _default(planned: SweepPlan, context: RunContext) -> tuple[float, ...] | None:
    """What the objectives are where nothing is varied; None where that is no experiment, or fails."""
    try:
        experiment, _ = planned.draft.composed(())
        made = run_prepared(prepare(experiment, context.trust, context.read, context.store.shared()), context)
        return tuple(objective.value(made) for objective in planned.objectives)
    except UserError as error:
        context.progress.note(f"note: the default could not be run beside the trials: {error}")
        return None


def concluded(found: Found, test: Run | None, context: RunContext, page: Page, plain: Run | None = None) -> SweepResult:
    """Write best.yaml, the report and the study's own W&B run.

    `test` is the winner's run on the test rows, `plain` that of the plain prompt where the instruction was searched;
    `page` makes the text of report.html.
    """
    planned = found.plan
    result = _result(found, test, plain)
    for place, trial in enumerate(found.best, start=1):
        text = as_experiment([*planned.draft.fixed, *trial.overrides], planned.draft.config_dir, without=["sweep"])
        for name in ("experiment/best.yaml", "best.yaml") if place == 1 else (f"experiment/front-{place}.yaml",):
            write_text(found.folder / name, text)
    if planned.draft.config_dir is not None:
        copy_options(planned.draft.config_dir, found.folder)
    if listed := next((p.values for p in planned.draft.space if p.name == INSTRUCTION), None):
        write_text(found.folder / "instructions.json", json.dumps(listed, indent=1, ensure_ascii=False))
    write_text(found.folder / "report.html", page(result, found.trials, planned))
    whole = StoredSweep(**vars(result), all_trials=found.trials)
    file = found.folder / "sweep.json"
    if read_json(file) != json.loads(json.dumps(to_plain(whole))):
        kept = asdict(replace(planned.settings, conditions=None, sampler=None, pruner=None, storage=None))
        config = {"terms": planned.terms, "settings": {k: v for k, v in kept.items() if v is not None}}
        with open_tracker(
            context.tracking, context.store.root, f"{planned.study}-summary", group=planned.study, job_type="sweep",
            config=config, name=f"{planned.study} summary",
        ) as tracker:  # fmt: skip
            state = to_plain(result)
            tracker.log_state({k: v for k, v in state.items() if k not in ("folder", "report", "experiment")})
            public = [replace(t, reason=public_reason(t.reason, context.tracking)) for t in found.trials]
            tracker.log_page("report", page(result, public, planned))
        serialise.write(file, whole)
    return result


def _result(found: Found, test: Run | None, plain: Run | None) -> SweepResult:
    several = len(found.plan.objectives) > 1
    best = tuple(_best(trial, several) for trial in found.best)
    default = found.default if several or found.default is None else found.default[0]
    value = best[0].value
    beaten = None
    if isinstance(value, float) and isinstance(default, float):
        beaten = found.plan.objectives[0].better(value, default)
    return SweepResult(
        study=found.plan.study,
        best=best if several else best[0],
        trials=counts(found.trials),
        folder=str(found.folder),
        objective=tuple(o.name for o in found.plan.objectives),
        ended_by=found.reason,
        default=default,
        beats_default=beaten,
        importances=found.importances,
        training_tokens=sum(t.tokens for t in found.trials),
        test=None if test is None else WinnerOnTest(test.scores, test.result.folders),
        experiment=str(found.folder / "best.yaml"),
        report=str(found.folder / "report.html"),
        luck=luck_of(found.trials, found.plan.examples, found.plan.study),
        plain=None if test is None or plain is None else plain_on_test(test, plain, found.plan.study),
        proposed=found.plan.proposed,
    )


def _best(trial: Trial, several: bool) -> BestTrial:
    values = trial.values or ()
    return BestTrial(trial.number, trial.overrides, values if several else values[0])


def status(planned: SweepPlan, context: RunContext) -> SweepStatus:
    """What runs, what is best, time left. Raises UserError where the study has not begun."""
    folder = context.store.study(planned.study)
    study = Study(planned, folder, begin=False)
    trials = study.trials()
    several = len(planned.objectives) > 1
    best = tuple(_best(t, several) for t in front(trials, planned.objectives))
    running = tuple(RunningTrial(t.number, t.overrides, t.worker) for t in trials if t.state == "running")
    return SweepStatus(
        study=planned.study,
        best=best if several else next(iter(best), None),
        trials=replace(counts(trials), running=len(running)),
        folder=str(folder),
        running=running,
        ended_by=study.ended(trials),
        seconds_left=seconds_left(planned, trials),
    )


def summary(result: SweepResult) -> Iterator[str]:
    """The result for people, line by line."""
    yield f"study {result.study}: {result.trials}"
    yield f"The study stopped {result.why_it_stopped}."
    for best in result.winners:
        values = best.value if isinstance(best.value, tuple) else (best.value,)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in zip(result.objective, values, strict=True))
        yield f"best: {figures} on validation, trial {best.trial}: {' '.join(best.overrides)}"
    if isinstance(result.default, float):
        yield f"the default configuration: {result.default:.4g} on validation"
    if result.luck is not None:
        yield str(result.luck)
    for suite, metrics in (result.test.scores if result.test else {}).items():
        for name, m in metrics.items():
            yield f"on test, {suite}.{name}: {m.value:.4f} [{m.low:.4f}, {m.high:.4f}], n={m.n}"
    if result.plain is not None:
        yield str(result.plain)
    if result.proposed is not None:
        yield str(result.proposed)
    command = shlex.join(["stepladder", "run", "--config-dir", result.folder, "experiment=best"])
    yield f"run the best again: {command}"
    yield f"report: {result.report}"
