"""Answers the questions of a file with a stored fit. Nothing is scored and nothing is added to the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.config.build import build
from stepladder.config.experiment import Experiment
from stepladder.config.overrides import parse
from stepladder.config.schema import UNTARGETED
from stepladder.dataset.accounts import Accounts, Rejected, bad_rows_error
from stepladder.dataset.dataset import Dataset
from stepladder.dataset.loaded import NewQuestions
from stepladder.dataset.tables import Table
from stepladder.dataset.writing import write_table
from stepladder.errors import UserError, did_you_mean
from stepladder.io.files import expand_home
from stepladder.methods.method import Method
from stepladder.runs.refused import refused_questions
from stepladder.runs.run import RunContext
from stepladder.runs.stages import load, read_task, require_this_version
from stepladder.runs.tracking import Untracked
from stepladder.store.stored_run import fit_of, stored_experiment
from stepladder.types import Decoding, EvalRequest, Plain, Prediction, Task

READING = ("on_bad_row", "delimiter", "encoding", "quote", "header")
"""The keys of a dataset that say how a file is read, and not what is asked."""


@dataclass(frozen=True)
class AnsweredFile:
    """The rows of a file with their predictions, in order; None for a row that was rejected when it was read."""

    file: Path
    table: Table
    by_record: tuple[Prediction | None, ...]
    accounts: Accounts

    @property
    def predictions(self) -> list[Prediction]:
        return [prediction for prediction in self.by_record if prediction is not None]

    def write(self, to: Path) -> None:
        """Write the input columns and the answers as csv, jsonl or parquet. An input column that has the name of an
        answer's column becomes `input_NAME`."""
        own = self._answer_columns()
        if to.suffix.lower() == ".csv":
            del own["probabilities"]
        given = {
            _free_name(name, own, self.table.columns): [record.values.get(name) for record in self.table.records]
            for name in self.table.columns
        }
        write_table(to, {**given, **own}, self.file if self._keeps_types else None)

    @property
    def _keeps_types(self) -> bool:
        """Whether the file has the rows of the table in typed columns: parquet, and not nested articles."""
        return self.file.suffix.lower() == ".parquet" and all(r.place.unit == "row" for r in self.table.records)

    def _answer_columns(self) -> dict[str, Sequence[Any]]:
        reasons = {rejected.place: rejected.reason for rejected in self.accounts.rejections}
        found = [
            prediction or Prediction("", "", failure=reasons.get(record.place, "the row was rejected"))
            for record, prediction in zip(self.table.records, self.by_record, strict=True)
        ]
        return {
            "id": [p.id or None for p in found],
            "answer": [p.text if p.id else None for p in found],
            "confidence": [(p.probabilities or {}).get(p.text) for p in found],
            "failure": [p.failure for p in found],
            "probabilities": [None if p.probabilities is None else dict(p.probabilities) for p in found],
        }


def _free_name(name: str, own: Plain, given: Collection[str]) -> str:
    if name in own:
        name = f"input_{name}"
        while name in given:
            name = f"input_{name}"
    return name


def answer(
    folder: Path,
    file: Path,
    context: RunContext,
    model: Mapping[str, str] | None = None,
    reading: Mapping[str, str] | None = None,
) -> AnsweredFile:
    """Answer every row of `file`, which has the input columns of the run's dataset. Answers in it are not read, and
    the data that the run was made from is not needed.

    `folder` is any of a run's three; `model` holds other values of the base model's keys, such as its `path` on this
    machine; `reading` other values of the keys of `READING`. Raises UserError where `folder` is no run, or where its
    fit is not in that store any more.
    """
    require_this_version(folder)
    experiment = _with_reading(_with_model(stored_experiment(folder), model or {}), reading or {})
    fit = fit_of(folder)
    decoded = {"_target_": UNTARGETED["decoding"], **experiment.decoding}
    nodes = {"dataset": experiment.dataset, "method": experiment.method, "decoding": decoded}
    built = build(nodes, wanted={"dataset": Dataset, "method": Method, "decoding": Decoding}, trust=context.trust)
    dataset: Dataset = built["dataset"].object
    method: Method = built["method"].object
    asked = _accepted(dataset, method, dataset.new_questions(str(file)), read_task(fit), context.store.shared())
    for note in asked.accounts.notes:
        context.progress.note(f"note: {note}")
    resources = context.resources(Untracked())
    load(method, fit, resources)
    decoding: Decoding = replace(built["decoding"].object, seed=experiment.seed)
    request = EvalRequest("new", read_task(fit), asked.questions, decoding)
    found = {p.id: p for p in method.predict(request, resources)} if request.questions else {}
    by_record = tuple(None if question is None else found[question.id] for question in asked.by_record)
    return AnsweredFile(expand_home(str(file)), asked.table, by_record, asked.accounts)


def _accepted(dataset: Dataset, method: Method, asked: NewQuestions, task: Task, shared: Path) -> NewQuestions:
    """The questions without those that the model's chat template refuses, which are bad rows."""
    refused = refused_questions(method, task, asked.questions, shared)
    reasons = {asked.accounts.places[number]: reason for number, reason in refused.items()}
    if reasons and dataset.on_bad_row == "stop":
        bad = [Rejected(place, reason) for place, reason in reasons.items()]
        raise bad_rows_error(bad, sum(asked.accounts.read.values()))
    return asked.without(reasons) if reasons else asked


def _with_model(experiment: Experiment, values: Mapping[str, str]) -> Experiment:
    """The experiment with its base model elsewhere. That it is the same model is checked when the fit is opened."""
    if not values:
        return experiment
    node = experiment.method.get("model")
    if not isinstance(node, Mapping):
        to_do = f"leave out model.{min(values)}"
        raise UserError("The method of this fit has no base model", "the command line", to_do)
    known = [name for name in node if not name.startswith("_")]
    for name in values:
        if name not in known:
            raise UserError(f"The base model has no key model.{name}", "the command line", did_you_mean(name, known))
    return replace(experiment, method={**experiment.method, "model": {**node, **values}})


def _with_reading(experiment: Experiment, values: Mapping[str, str]) -> Experiment:
    """The experiment with other values of the keys that say how a file is read; they change no answer of the fit."""
    for name in values:
        if name not in READING:
            what = f"predict takes no dataset.{name}: the fit decides what is asked"
            raise UserError(what, "the command line", did_you_mean(name, READING))
    read = {override.key_or_group: override.value() for override in parse([f"{n}={v}" for n, v in values.items()])}
    return replace(experiment, dataset={**experiment.dataset, **read})
