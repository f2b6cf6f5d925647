"""Runs an experiment: fit, predict, score, each taken from the store or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from stepladder.config.experiment import Experiment
from stepladder.config.schema import Compute
from stepladder.dataset.loaded import Loaded
from stepladder.io.serialise import from_plain, to_plain
from stepladder.methods.method import Method
from stepladder.resources import Devices, Progress, Resources, Silent, Tracker
from stepladder.runs import fitting, stages
from stepladder.runs.costs import Costs
from stepladder.runs.predictions import read_current
from stepladder.runs.preflight import check_data
from stepladder.runs.results import RunFolders, RunResult, StageKeys, StagesReused, SuiteFigures
from stepladder.runs.stages import Prepared
from stepladder.runs.tracking import NoTracking, RunTracker, Tracking, open_tracker, replay
from stepladder.store.store import Entry, Form, Kind, Store
from stepladder.types import CheckResult, Prediction, PreflightLimits


@dataclass
class RunContext:
    """Where and how runs are made, and what they share: loaded models and data already read.

    fresh: a run is made anew beside what is finished of it.
    reopen_fit: a fit that was just made answers as it was stored, read back from its folder.
    """

    store: Store
    compute: Compute = field(default_factory=Compute)
    limits: PreflightLimits = field(default_factory=PreflightLimits)
    tracking: Tracking = field(default_factory=NoTracking)
    progress: Progress = field(default_factory=Silent)
    trust: Sequence[str] = ()
    study: str | None = None
    models: dict[str, Any] = field(default_factory=dict)
    read: dict[str, Loaded] = field(default_factory=dict)
    on_validation: Callable[[int, Mapping[str, float]], bool] | None = None
    fresh: bool = False
    reopen_fit: bool = False

    def resources(self, tracker: Tracker, keeps: bool = True) -> Resources:
        """For a stage; without `keeps` nothing is written."""
        return Resources(
            shared=self.store.shared() if keeps else None,
            devices=Devices(**{each.name: getattr(self.compute, each.name) for each in fields(Devices)}),
            micro_batch=self.compute.micro_batch,
            limits=self.limits,
            models=self.models,
            tracker=tracker,
            progress=self.progress,
            on_validation=self.on_validation,
        )


@dataclass(frozen=True)
class Run:
    """A finished run, with the directories of its stages.

    Attributes:
        predictions: By request.
        main: The predictions of the main request, in the order of its questions.
        checks: Results of preflight checks of the data as it is now. They may differ from the stored ones, since rows
            that are left out are not part of a key.
    """

    prepared: Prepared
    fit: Entry
    predictions: Mapping[str, Entry]
    score: Entry
    main: tuple[Prediction, ...]
    checks: tuple[CheckResult, ...] = ()

    @cached_property
    def costs(self) -> Costs:
        """What making the folders cost, whenever that was."""
        fitted = {k: v for k, v in self.fit.facts.items() if k not in ("seconds", "gate")}
        own = {"labels_used": self.prepared.labels_used, "fit_seconds": self.fit.facts.get("seconds")}
        return from_plain(Costs, {**fitted, **own, **self.predictions["main"].facts}, str(self.fit.folder))

    @property
    def all_checks(self) -> tuple[CheckResult, ...]:
        """The results of all preflight checks, those of the fit last."""
        stored = from_plain(tuple[CheckResult, ...], self.fit.facts.get("gate", []), str(self.fit.folder))
        return (*self.checks, *stored)

    @cached_property
    def scores(self) -> SuiteFigures:
        found: SuiteFigures = from_plain(SuiteFigures, self.score.facts["scores"], str(self.score.folder))
        return found

    @property
    def left_out(self) -> Mapping[str, Mapping[str, str]]:
        """What each suite did not measure, with the reasons."""
        found: Mapping[str, Mapping[str, str]] = self.score.facts.get("left_out", {})
        return found

    @property
    def result(self) -> RunResult:
        folders = {name: str(entry.folder) for name, entry in self.predictions.items()}
        predicted = all(entry.reused for entry in self.predictions.values())
        return RunResult(
            StageKeys(self.fit.key, self.predictions["main"].key, self.score.key),
            RunFolders(str(self.fit.folder), folders["main"], str(self.score.folder), folders),
            StagesReused(self.fit.reused, predicted, self.score.reused),
            self.scores,
            self.costs,
            self.prepared.data.accounts.counts(),
            self.all_checks,
        )


def run(experiment: Experiment, context: RunContext) -> Run:
    """Run an experiment.

    Raises:
        UserError: Something the user can fix. Raised before the first directory is made.
    """
    prepared = stages.prepare(experiment, context.trust, context.read, context.store.shared())
    report_rows(prepared, context)
    return run_prepared(prepared, context)


def report_rows(prepared: Prepared, context: RunContext) -> None:
    """What became of the data's rows, where it is not simply that all were kept."""
    for note in prepared.data.accounts.notes:
        context.progress.note(f"note: {note}")


def run_prepared(prepared: Prepared, context: RunContext, tracker: RunTracker | None = None) -> Run:
    """Run what is prepared; shown by `tracker` where one is open, else by one of its own where it was never shown."""
    if context.fresh:
        context = replace(context, store=context.store.renewed(keys(prepared)), fresh=False)
    checks = tuple(check_data(prepared, context.limits))
    context.resources(Silent()).preflight(checks)
    made = replace(_taken(prepared, context, tracker), checks=checks)
    if without := made.predictions["main"].facts.get("questions_without_passage"):
        asked = len(prepared.main.questions)
        context.progress.note(f"note: {without} of {asked} questions retrieve no passage ({prepared.experiment.label})")
    if context.study:
        context.store.join(context.study, made.score)
    return made


def keys(prepared: Prepared) -> Iterator[tuple[Kind, str]]:
    """Of all folders that the run is made of."""
    return ((kind, form.key) for kind, form in _forms(prepared))


def _forms(prepared: Prepared) -> Iterator[tuple[Kind, Form]]:
    yield "fits", prepared.fit_form
    for request in prepared.requests.values():
        yield "predictions", prepared.predict_form(request)
    yield "scores", prepared.score_form


def _taken(prepared: Prepared, context: RunContext, tracker: RunTracker | None) -> Run:
    if tracker is None:
        stored = _stored(prepared, context.store)
        if stored is not None and context.tracking.has_shown(context.store.root, _run_id(prepared, context)):
            return stored
    with nullcontext(tracker) if tracker is not None else _tracker(prepared, context) as shown:
        made = _make(prepared, context, shown)
        _show(made, shown)
        return made


def _stored(prepared: Prepared, store: Store) -> Run | None:
    """The run as the store has it, where all of it is there."""
    forms = [*_forms(prepared)]
    entries = [entry for kind, form in forms if (entry := store.find(kind, form.key)) is not None]
    if len(entries) < len(forms):
        return None
    for entry, (_, form) in zip(entries, forms, strict=True):
        store.verify(entry, form)
    fit, *asked, score = entries
    predictions = dict(zip(prepared.requests, asked, strict=True))
    read = {name: read_current(entry, prepared.expected[name], store) for name, entry in predictions.items()}
    return Run(prepared, fit, predictions, score, read["main"])


def _make(prepared: Prepared, context: RunContext, tracker: RunTracker) -> Run:
    resources = context.resources(tracker)
    method: Method = prepared.method.object
    if context.store.find("fits", prepared.fit_form.key) is None:
        fitting.check(prepared, resources.devices)
    fit = context.store.take(
        "fits", prepared.fit_form, lambda folder: fitting.fit(prepared, folder, resources, context.trust)
    )
    ready = not fit.reused and not context.reopen_fit and not fitting.over_several(prepared, resources.devices)

    def ask(name: str, folder: Path) -> stages.StageFacts:
        nonlocal ready
        if not ready:
            stages.load(method, fit.folder, resources)
            ready = True
        return stages.predict(prepared, name, folder, resources)

    predictions = {
        name: context.store.take("predictions", prepared.predict_form(request), lambda folder, n=name: ask(n, folder))  # type: ignore[misc]
        for name, request in prepared.requests.items()
    }
    read = {name: read_current(entry, prepared.expected[name], context.store) for name, entry in predictions.items()}
    form = prepared.score_form
    seed = int(form.key[:8], 16)
    score = context.store.take("scores", form, lambda folder: stages.score(prepared, read, folder, seed))
    return Run(prepared, fit, predictions, score, read["main"])


def _run_id(prepared: Prepared, context: RunContext) -> str:
    attempt = context.store.attempt
    parts = (prepared.score_form.key[:16], context.study, f"a{attempt}" if attempt > 1 else None)
    return "-".join(part for part in parts if part)


def _tracker(prepared: Prepared, context: RunContext) -> AbstractContextManager[RunTracker]:
    experiment = prepared.experiment
    keys = {"fit": prepared.fit_form.key, "score": prepared.score_form.key}
    return open_tracker(
        context.tracking,
        context.store.root,
        _run_id(prepared, context),
        group=context.study,
        job_type=experiment.label.split("-")[0] or None,
        config={**experiment.as_config(), "keys": keys},
        name=experiment.label or None,
    )


def _show(made: Run, tracker: RunTracker) -> None:
    metrics = made.fit.folder / "metrics.jsonl"
    if made.fit.reused and metrics.exists():
        replay(metrics, tracker)
    tracker.log_scores(to_plain(made.scores), to_plain(made.costs))
    examples = {e.question.id: e for e in made.prepared.examples}
    rows: list[dict[str, Any]] = [
        {"id": p.id, "question": examples[p.id].question.text, "answer": examples[p.id].answers[0], "text": p.text}
        | {"failure": p.failure}
        for p in made.main
    ]
    tracker.log_predictions(rows)
    if made.costs.trained_parameters and not made.fit.reused:
        tracker.log_artifact(made.fit.folder / "artefact", f"adapter-{made.fit.key[:16]}", "adapter")
