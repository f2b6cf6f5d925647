"""The task of a dataset: kind, instruction, labels or schema, given by the user or inferred from the training rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepladder.dataset.accounts import RowLog
from stepladder.dataset.labels import nearest
from stepladder.dataset.rows import Kind, Row
from stepladder.dataset.schema import in_order, inferred
from stepladder.dataset.values import compact
from stepladder.errors import ConfigError, DataError, Fault, did_you_mean
from stepladder.io.json_schema import SchemaValidator
from stepladder.types import Answer, Choice, Json, Plain, Task, Text

INSTRUCTIONS: Mapping[Kind, str] = {
    "choice": "Name the category that the text belongs to.",
    "text": "Answer the question.",
    "json": "Read the fields off the text and write them as JSON.",
}


@dataclass(frozen=True)
class TaskSpec:
    """The user's settings of the task. Null values come from the layout and the training rows."""

    kind: Kind | None = None
    instruction: str | None = None
    schema: Plain | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.kind not in (None, "choice", "text", "json"):
            faults.append(Fault("kind", f"'{self.kind}' is not a kind of task", "use choice, text or json"))
        if not _is_given_as(str, self.instruction):
            faults.append(Fault("instruction", f"{self.instruction!r} is not text", "give text, or null"))
        if not _is_given_as(Mapping, self.schema):
            faults.append(Fault("schema", f"{self.schema!r} is not a schema", "give a JSON schema, or null"))
        if faults:
            raise ConfigError(faults)
        if self.schema is not None and self.kind != "json":
            raise ConfigError(Fault("schema", "a schema is for json tasks", "set kind=json, or remove the schema"))


def _is_given_as(kind: type, value: object) -> bool:
    return value is None or isinstance(value, kind)


def task_of(kind: Kind, instruction: str, rows: Sequence[Row], labels: Choice | None, schema: Plain | None) -> Task:
    """The task. Labels and schema are inferred from `rows` if they are not given.

    Raises:
        DataError: The rows have fewer than two labels.
    """
    answer: Answer = Text()
    if kind == "choice":
        answer = labels or Choice(_labels(rows))
    elif kind == "json":
        values = [json.loads(row.example.answers[0]) for row in rows]
        answer = Json(inferred(values) if schema is None else schema)
    return Task(instruction, answer)


def _labels(rows: Sequence[Row]) -> tuple[str, ...]:
    if any(row.question.choices for row in rows):
        return ()
    labels = tuple(sorted({row.example.answers[0] for row in rows}))
    if len(labels) < 2:
        found = f"only one label, '{labels[0]}'" if labels else "no label"
        raise DataError(
            f"The rows have {found}; there is nothing to choose from",
            "dataset.target",
            "check that the target column is the right one, or name all labels with dataset.labels=[...]",
        )
    return labels


def valid_rows(rows: Sequence[Row], task: Task, given: bool, log: RowLog) -> list[Row]:
    """The rows whose answers the task allows. The other rows are rejected.

    Raises:
        DataError: A held-out row has a label that no training row has, and the labels were not `given`.
    """
    misfits = {id(row): fault for row, fault in _misfits(rows, task) if fault}
    if not misfits:
        return list(rows)
    if isinstance(task.answer, Choice) and not given:
        misfit_rows = [row for row in rows if id(row) in misfits]
        first = misfit_rows[0].example.answers[0]
        count = len({row.example.answers[0] for row in misfit_rows})
        raise DataError(
            f"{count} held-out {'label' if count == 1 else 'labels'} never seen in training, the first: '{first}' "
            f"({_hint(first, task.answer.labels)})",
            str(misfit_rows[0].place),
            "add training rows with that label, correct it, or name all labels with dataset.labels=[...]",
        )
    for row in rows:
        if id(row) in misfits:
            log.reject(row.place, misfits[id(row)])
    return [row for row in rows if id(row) not in misfits]


def in_schema_order(rows: Sequence[Row], task: Task) -> list[Row]:
    """The rows with the keys of JSON answers in the order of the schema, in which constrained decoding generates
    them."""
    if not isinstance(task.answer, Json):
        return list(rows)
    schema = task.answer.schema
    ordered = [tuple(compact(in_order(json.loads(answer), schema)) for answer in row.example.answers) for row in rows]
    return [
        row if row.example.answers == answers else replace(row, example=replace(row.example, answers=answers))
        for row, answers in zip(rows, ordered, strict=True)
    ]


def _hint(label: str, labels: Sequence[str]) -> str:
    if (alike := nearest(label, labels)) is not None:
        return f"did you mean '{alike}'?"
    hint = did_you_mean(label, labels)
    return hint if hint.startswith("did you") or len(labels) <= 20 else f"there are {len(labels)} labels, none like it"


def _misfits(rows: Sequence[Row], task: Task) -> list[tuple[Row, str]]:
    if isinstance(task.answer, Choice) and task.answer.labels:
        labels, known = task.answer.labels, set(task.answer.labels)
        unknown = [(row, row.example.answers[0]) for row in rows if row.example.answers[0] not in known]
        return [(row, f"'{label}' is not among the labels; {_hint(label, labels)}") for row, label in unknown]
    if isinstance(task.answer, Json):
        validator = SchemaValidator(task.answer.schema)
        return [(row, validator.fault(json.loads(row.example.answers[0]))) for row in rows]
    return []
