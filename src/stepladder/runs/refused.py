"""Rows that the chat template of a method's model refuses: bad rows, found before anything is computed.

Only here are the rows and the model both known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stepladder.dataset.accounts import OnBadRow, Place, Rejected, bad_rows_error
from stepladder.dataset.loaded import Loaded
from stepladder.errors import ModelError
from stepladder.methods.method import Method
from stepladder.types import Question, Task

REFUSED = "the model's chat template refuses it: "


def refused_questions(method: Method, task: Task, questions: Sequence[Question], shared: Path | None) -> dict[int, str]:
    """The questions that the chat template of the method's model refuses, by their place, with the reason.

    Raises:
        ModelError: It refuses all of several questions: then it is the template that does not work.
    """
    refusals = getattr(method, "refusals", None)
    if refusals is None:
        return {}
    found: dict[int, str] = refusals(task, questions, shared)
    if 1 < len(questions) == len(found):
        what = f"The model's chat template refuses every one of {len(found)} rows: {found[0]}"
        to_do = "fix chat_template in the model's tokenizer_config.json, or use a model that takes such conversations"
        raise ModelError(what, "model", to_do)
    return {place: REFUSED + reason for place, reason in found.items()}


def refused_rows(method: Method, data: Loaded, on_bad_row: OnBadRow, shared: Path | None) -> dict[Place, str]:
    """The rows of a dataset that the chat template of the method's model refuses, with the reason.

    Raises:
        DataError: There are such rows, and bad rows are not to be skipped.
        ModelError: The template refuses every row.
    """
    places = [place for part in data.places.values() for place in part]
    questions = [question for part in data.places for question in data.questions(part)]
    found = refused_questions(method, data.task, questions, shared)
    if found and on_bad_row == "stop":
        bad = [Rejected(places[number], reason) for number, reason in found.items()]
        raise bad_rows_error(bad, sum(data.accounts.read.values()))
    return {places[number]: reason for number, reason in found.items()}
