"""Answers the questions of a file with a stored fit. Nothing is scored and nothing is added to the store."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.config.build import build
from stepladder.config.schema import UNTARGETED
from stepladder.dataset.accounts import Accounts
from stepladder.dataset.dataset import Dataset, NewQuestions
from stepladder.dataset.formats import Table
from stepladder.dataset.writing import write_table
from stepladder.files import at_home
from stepladder.methods.method import Method
from stepladder.records import Decoding, Prediction, Probe
from stepladder.runs.recorded import fit_of, stored_experiment
from stepladder.runs.run import Circumstances
from stepladder.runs.stages import load, read_task, require_this_version
from stepladder.runs.tracking import Untracked


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
            "confidence": [_confidence(p) for p in found],
            "failure": [p.failure for p in found],
            "probabilities": [None if p.probabilities is None else dict(p.probabilities) for p in found],
        }


def _confidence(prediction: Prediction) -> float | None:
    """The probability of the answer; None where the method gives none."""
    return (prediction.probabilities or {}).get(prediction.text)


def _free_name(name: str, own: Mapping[str, Any], given: Collection[str]) -> str:
    if name not in own:
        return name
    renamed = f"input_{name}"
    while renamed in given:
        renamed = f"input_{renamed}"
    return renamed


def answer(folder: Path, file: Path, around: Circumstances) -> AnsweredFile:
    """Answer every row of `file`, which has the input columns of the run's dataset. Answers in it are not read, and
    the data that the run was made from is not needed.

    `folder` is any of a run's three. Raises UserError where it is none, or where its fit is not in that store any more.
    """
    experiment = stored_experiment(folder)
    require_this_version(folder)
    fit = fit_of(folder)
    decoded = {"_target_": UNTARGETED["decoding"], **experiment.decoding}
    nodes = {"dataset": experiment.dataset, "method": experiment.method, "decoding": decoded}
    built = build(nodes, wanted={"dataset": Dataset, "method": Method, "decoding": Decoding}, trust=around.trust)
    asked: NewQuestions = built["dataset"].object.new_questions(str(file))
    for note in asked.accounts.notes:
        around.progress.note(f"note: {note}")
    resources = around.resources(Untracked())
    method: Method = built["method"].object
    load(method, fit, resources)
    decoding: Decoding = replace(built["decoding"].object, seed=experiment.seed)
    probe = Probe("new", read_task(fit), asked.questions, decoding)
    found = {p.id: p for p in method.predict(probe, resources)} if probe.questions else {}
    by_record = tuple(None if question is None else found[question.id] for question in asked.by_record)
    return AnsweredFile(at_home(str(file)), asked.table, by_record, asked.accounts)
