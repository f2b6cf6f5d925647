"""The file predictions.jsonl of a stored prediction: written, read back, and kept true to the expected answers.

One line per question: the prediction, the question with secrets redacted, and the answers that count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from stepladder.errors import StoreError
from stepladder.io.files import json_lines, read_lines, write_lines
from stepladder.io.redaction import mask
from stepladder.store.store import Entry, Store
from stepladder.store.validation import PREDICTION, has
from stepladder.types import EvalRequest, Prediction

PREDICTIONS = "predictions.jsonl"

Expected = Mapping[str, tuple[str, ...]]
"""By id of a question, the answers that count."""


def write_predictions(
    folder: Path, request: EvalRequest, predictions: Sequence[Prediction], expected: Expected
) -> None:
    # Redacted all at once: what counts as a secret is looked up once.
    questions = dict(zip((q.id for q in request.questions), mask([q.text for q in request.questions]), strict=True))
    write_lines(
        folder / PREDICTIONS,
        (
            {"id": p.id, "question": questions[p.id], "expected": list(expected.get(p.id, ())), **asdict(p)}
            for p in predictions
        ),
    )


def refresh_expected(entry: Entry, expected: Expected, store: Store) -> None:
    """Write the answers that count now into stored predictions.

    Predictions do not depend on the expected answers, so a corrected label reuses them; the file must not keep the
    label that was corrected.
    """
    rows = _stored_rows(entry.folder / PREDICTIONS)
    current = [{**row, "expected": list(expected.get(row["id"], ()))} for row in rows]
    if current != rows:
        store.rewrite("predictions", entry, PREDICTIONS, json_lines(current))


def read_predictions(folder: Path) -> list[Prediction]:
    names = [field.name for field in fields(Prediction)]
    rows = _stored_rows(folder / PREDICTIONS)
    return [Prediction(**{name: row[name] for name in names} | {"shown": tuple(row["shown"])}) for row in rows]


def _stored_rows(file: Path) -> list[dict[str, Any]]:
    try:
        rows = list(read_lines(file))
    except (ValueError, RecursionError) as error:
        raise _broken_predictions(str(error), file) from error
    for number, row in enumerate(rows, 1):
        if not has(row, PREDICTION) or len(row) != len(PREDICTION):
            raise _broken_predictions(f"line {number} is no prediction", file)
    return rows


def _broken_predictions(what: str, file: Path) -> StoreError:
    return StoreError(
        f"The stored predictions are damaged: {what}", str(file), "remove that folder and run the experiment again"
    )
