"""The examples of a comparison for the page's script: every text once, every answer and mark as a number.

The result stays under a given size: long texts are cut, then examples on which all runs have the same mark left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Metric
from stepladder.evaluation.statistics.estimates import Side
from stepladder.io.serialise import to_plain
from stepladder.types import Question

BYTES = 2_000_000
CUTS = (4_000, 2_000, 1_000, 500, 250, 120)  # characters of a text that are kept, fewer where space is short
TEXTS = 0.8  # of the limit, for texts
FULL = 100  # the mark of an answer that is wholly right


@dataclass(frozen=True, kw_only=True)
class ExampleRows:
    """The examples of a comparison as the page's script reads them.

    Attributes:
        ids: Each example's id, as its place in `texts`; `questions` and `expected` likewise.
        answers: By run and example, as places in `texts`; `marks` likewise, as numbers.
        note: What was cut or left out, in words.
        runs: Titles of the runs, methods in order.
        below: For each run the place of the run of the next simpler method.
        baseline: The place of the baseline's first run; `first` that of the run that is shown first.
        full: The mark of an answer that is wholly right.
        graded: Whether there are marks between 0 and `full`.
    """

    ids: tuple[int, ...] = ()
    questions: tuple[int, ...] = ()
    expected: tuple[int, ...] = ()
    answers: tuple[tuple[int, ...], ...] = ()
    marks: tuple[tuple[int, ...], ...] = ()
    texts: tuple[str, ...] = ()
    note: str = ""
    runs: tuple[str, ...]
    below: tuple[int, ...]
    baseline: int
    first: int
    full: int
    graded: bool


def rows(
    runs: Mapping[str, Answers],
    metric: Metric,
    below: Sequence[int],
    baseline: int,
    first: int,
    limit: int = BYTES,
    name: str = "",
) -> ExampleRows:
    """The examples of `runs`, which are given by title, methods in order.

    Marks are the metric's value of a question, 0 to 100; a metric of the whole marks an answer by whether it is among
    the expected ones.
    """
    found = [_marks(run, metric, name) for run in runs.values()]
    one = next(iter(runs.values()))
    order = np.argsort(one.ids)
    examples = [one.examples[at] for at in order]
    answers = [[_answer(run, at) for at in np.argsort(run.ids)] for run in runs.values()]
    graded = any(mark not in (0, FULL) for marks in found for mark in marks)
    columns = {
        "ids": [example.question.id for example in examples],
        "questions": [_question(example.question) for example in examples],
        "expected": ["  |  ".join(example.answers) for example in examples],
    }
    whole = ExampleRows(runs=tuple(runs), below=tuple(below), baseline=baseline, first=first, full=FULL, graded=graded)
    return _fitted(whole, columns, answers, found, limit)


def _fitted(
    whole: ExampleRows, columns: Mapping[str, list[str]], answers: list[list[str]], marks: list[list[int]], limit: int
) -> ExampleRows:
    """Texts and marks as numbers, within the limit: first by cutting texts, then by leaving rows out."""
    places, count = list(range(len(columns["ids"]))), len(columns["ids"])
    lengths = [len(text) for text in {text for column in (*columns.values(), *answers) for text in column}]
    allowed = limit * TEXTS
    longest = next((cut for cut in CUTS if sum(min(length, cut) for length in lengths) <= allowed), CUTS[-1])
    while True:
        made = replace(whole, **_coded(columns, answers, marks, places, longest))
        size = len(json.dumps(to_plain(made), ensure_ascii=False, separators=(",", ":")).encode())
        if size <= limit or len(places) <= 1:
            break
        if longest > CUTS[-1]:
            longest = CUTS[CUTS.index(longest) + 1]
        else:  # rows with different marks first, then as many of the others as fit
            keep = max(1, min(len(places) - 1, int(len(places) * limit / size * 0.95)))
            differing = sorted(places, key=lambda at: len({each[at] for each in marks}) < 2)
            places = sorted(differing[:keep])
    notes = []
    if max(lengths) > longest:
        notes.append(f"Texts are cut at {longest:,} characters.")
    if len(places) < count:
        notes.append(
            f"{count - len(places):,} of {count:,} examples are left out, first those on which all runs have the same "
            "mark."
        )
    return replace(made, note=" ".join(notes))


def _coded(
    columns: Mapping[str, list[str]], answers: list[list[str]], marks: list[list[int]], places: list[int], longest: int
) -> dict[str, Any]:
    known: dict[str, int] = {}

    def code(text: str) -> int:
        cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
        cut = cut.encode(errors="replace").decode()  # half of a surrogate pair can stand in JSON, and in no file
        return known.setdefault(cut, len(known))

    return {
        **{name: tuple(code(column[at]) for at in places) for name, column in columns.items()},
        "answers": tuple(tuple(code(run[at]) for at in places) for run in answers),
        "marks": tuple(tuple(run[at] for at in places) for run in marks),
        "texts": tuple(known),
    }


def _marks(run: Answers, metric: Metric, name: str) -> list[int]:
    values = Side(metric, run, name).by_question
    if values is None:
        right = [p.failure is None and p.text in e.answers for p, e in zip(run.predictions, run.examples, strict=True)]
        values = np.array(right, dtype=np.float64)[np.argsort(run.ids)]
    return [round(FULL * float(value)) for value in values]


def _answer(run: Answers, at: int) -> str:
    prediction = run.predictions[at]
    return prediction.text if prediction.failure is None else f"{prediction.text}\n[no answer: {prediction.failure}]"


def _question(question: Question) -> str:
    turns = [f"{turn.role}: {turn.content}" for turn in question.history]
    return "\n".join([*([question.system] if question.system else []), *turns, question.text])
