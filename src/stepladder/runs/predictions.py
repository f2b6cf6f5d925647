"""The file predictions.jsonl: each question with its prediction, its text (secrets redacted) and expected answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeAlias

from stepladder.errors import StoreError
from stepladder.io.files import json_lines, read_lines, write_lines
from stepladder.io.redaction import mask
from stepladder.store.store import Entry, Store
from stepladder.store.validation import MORE_OF_PREDICTION, PREDICTION, has, only
from stepladder.types import EvalRequest, Prediction

PREDICTIONS = "predictions.jsonl"

Expected = Mapping[str, tuple[str, ...]]
"""The expected answers, by id of the question."""
_Row: TypeAlias = dict[str, Any]
"""One line of the file."""


def write_predictions(
    folder: Path, request: EvalRequest, predictions: Sequence[Prediction], expected: Expected
) -> None:
    # Redacted all at once: what counts as a secret is looked up once.
    questions = dict(zip((q.id for q in request.questions), mask([q.text for q in request.questions]), strict=True))
    rows = (
        {"id": p.id, "question": questions[p.id], "expected": list(expected.get(p.id, ())), **asdict(p)}
        for p in predictions
    )
    write_lines(folder / PREDICTIONS, rows)


def read_current(entry: Entry, expected: Expected, store: Store) -> tuple[Prediction, ...]:
    """Read stored predictions, and write the expected answers into their file where they are others now.

    Predictions do not depend on the expected answers, so a corrected label reuses them; the file must not keep the
    label that was corrected.
    """
    rows = _stored_rows(entry.folder / PREDICTIONS)
    current = [{**row, "expected": list(expected.get(row["id"], ()))} for row in rows]
    if current != rows:
        store.rewrite("predictions", entry, PREDICTIONS, json_lines(current))
    return _predictions(rows)


def read_predictions(folder: Path) -> tuple[Prediction, ...]:
    """The predictions in a directory of the store. Raises StoreError where the file is damaged."""
    return _predictions(_stored_rows(folder / PREDICTIONS))


def _predictions(rows: Sequence[_Row]) -> tuple[Prediction, ...]:
    names = [field.name for field in fields(Prediction)]
    found = []
    for row in rows:
        lists = {name: tuple(row.get(name, ())) for name in ("shown", "candidates")}
        found.append(Prediction(**{name: row[name] for name in names if name in row} | lists))
    return tuple(found)


def _stored_rows(file: Path) -> list[_Row]:
    try:
        rows = list(read_lines(file))
        for number, row in enumerate(rows, 1):
            if not has(row, PREDICTION) or len(row) != len(PREDICTION) + len(only(row, MORE_OF_PREDICTION)):
                raise ValueError(f"line {number} is not a prediction")
    except (ValueError, RecursionError) as error:
        what = f"The stored predictions are damaged: {error}"
        raise StoreError(what, str(file), "remove that folder and run the experiment again") from error
    return rows
