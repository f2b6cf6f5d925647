"""Rows for the page's script: every text once, and never more than there is room for."""

from __future__ import annotations

import json

import pytest

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1, Mean
from stepladder.io.serialise import to_plain
from stepladder.studies.examples import FULL, rows
from stepladder.types import Choice, Decoding, EvalRequest, Example, Message, Prediction, Question, Task


def answered(said: list[str | None], wanted: list[str], long: int = 0) -> Answers:
    questions = tuple(
        Question(f"q{i}", f"text {i} {'x' * long}", history=(Message("user", "before"),)) for i in range(len(wanted))
    )
    predictions = tuple(
        Prediction(q.id, s or "", failure=None if s is not None else "too long")
        for q, s in zip(questions, said, strict=True)
    )
    examples = tuple(Example(q, (w, "or this")) for q, w in zip(questions, wanted, strict=True))
    return Answers(
        EvalRequest("main", Task("", Choice(("a", "b"))), questions, Decoding("choose")), predictions, examples
    )


def test_every_text_is_stored_once_and_marks_are_the_metrics() -> None:
    runs = {"one": answered(["a", "b", None], ["a", "a", "a"]), "two": answered(["b", "a", "a"], ["a", "a", "a"])}
    made = rows(runs, Accuracy(), [0, 0], 0, 1)
    assert made.marks == ((FULL, 0, 0), (0, FULL, FULL))
    assert len(made.texts) == len(set(made.texts))
    said = [[made.texts[at] for at in each] for each in made.answers]
    assert said == [["a", "b", "\n[no answer: too long]"], ["b", "a", "a"]]
    assert made.texts[made.questions[0]] == "user: before\ntext 0 "
    assert made.texts[made.expected[0]] == "a  |  or this"
    assert made.graded is False
    assert made.note == ""
    assert rows(runs, MacroF1(), [0, 0], 0, 1).marks == made.marks
    assert rows(runs, Mean(lambda p, e: 0.25), [0, 0], 0, 1).graded is True


@pytest.mark.parametrize(("n", "long", "limit"), [(40, 20_000, 60_000), (400, 300, 30_000), (3, 5_000, 300)])
def test_too_much_text_is_cut_then_left_out_with_a_note(n: int, long: int, limit: int) -> None:
    said = ["a" if i % 10 else "b" for i in range(n)]
    runs = {"one": answered(["a"] * n, ["a"] * n, long), "two": answered(said, ["a"] * n, long)}
    made = rows(runs, Accuracy(), [0, 0], 0, 1, limit)
    size = len(json.dumps(to_plain(made), ensure_ascii=False, separators=(",", ":")).encode())
    assert size < limit + 500 or len(made.ids) == 1
    assert "Texts are cut at" in made.note
    if len(made.ids) < n:
        assert f"of {n} examples are left out" in made.note
        assert made.marks[1].count(0) == min(len(made.ids), said.count("b"))  # what tells something stays


def test_half_a_surrogate_pair_does_no_harm() -> None:
    made = rows({"one": answered(["\ud800"], ["a"])}, Accuracy(), [0], 0, 0)
    json.dumps(to_plain(made), ensure_ascii=False).encode()
