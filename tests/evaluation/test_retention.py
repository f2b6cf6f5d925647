"""Retention: rows fixed and rows broken against the base, on another dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.suite import Suite
from stepladder.evaluation.suites.retention import Retention
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task, Text

OTHER = Task("Answer.", Choice())


@dataclass(frozen=True)
class Quiz:
    """Another dataset, in memory."""

    task: Task = OTHER
    rows: int = 10

    def read(self) -> Quiz:
        return self

    @property
    def test(self) -> tuple[Example, ...]:
        return tuple(Example(Question(f"t{i}", f"test {i}", choices=("yes", "no")), ("yes",)) for i in range(self.rows))

    @property
    def validation(self) -> tuple[Example, ...]:
        return (Example(Question("v", "validation", choices=("yes", "no")), ("yes",)),)


MAIN = EvalRequest("main", Task("Say.", Text()), (Question("q", "q"),), Decoding("greedy"))
TUNED = EvalInputs(MAIN, (Example(MAIN.questions[0], ("a",)),), tunes=True)


def test_the_tuned_model_and_its_base_get_the_other_questions_without_passages() -> None:
    suite = Retention(Quiz())
    assert isinstance(suite, Suite)
    main, before, after = suite.requests(TUNED)
    assert main == TUNED.plain
    assert (before.request.tuned, after.request.tuned) == (False, True)
    assert replace(before.request, name="after", tuned=True) == after.request
    assert after.request.task == OTHER
    assert after.request.decoding.mode == "choose"
    assert after.request.override is not None
    assert set(after.request.override.passages.values()) == {()}  # type: ignore[union-attr]
    assert len(Retention(Quiz(), rows=3).requests(TUNED)[1].examples) == 3


def test_a_search_sees_the_other_dataset_s_validation_rows_and_a_frozen_model_nothing() -> None:
    searched = Retention(Quiz()).requests(replace(TUNED, rows="validation"))
    assert [e.question.id for e in searched[1].examples] == ["v"]
    assert Retention(Quiz()).requests(replace(TUNED, tunes=False)) == (TUNED.plain,)
    assert Retention(Quiz(rows=0)).requests(TUNED) == (TUNED.plain,)
    left = Retention(Quiz()).score({}, seed=0)
    assert (left.metrics, bool(left.details["left_out"])) == ({}, True)


def answers(batch: EvalBatch, marks: str) -> Answers:
    texts = ["yes" if mark == "1" else "no" for mark in marks]
    predictions = tuple(Prediction(q.id, text) for q, text in zip(batch.request.questions, texts, strict=True))
    return Answers(batch.request, predictions, batch.examples)


def test_fixed_and_broken_rows_add_up_to_the_change() -> None:
    _, before, after = Retention(Quiz()).requests(TUNED)
    scores = Retention(Quiz()).score(
        {"before": answers(before, "1111110000"), "after": answers(after, "1100001100")}, seed=0
    )
    figures = {name: figure.value for name, figure in scores.metrics.items()}
    assert figures == pytest.approx({"before": 0.6, "after": 0.4, "change": -0.2, "fixed": 0.2, "broken": 0.4})
    assert scores.details["p"] == pytest.approx(0.6875)
    _, broken, fixed = scores.tables
    assert [row[0] for row in broken.rows] == ["t2", "t3", "t4", "t5"]
    assert [row[0] for row in fixed.rows] == ["t6", "t7"]
    assert len(scores.per_question) == 20


def test_a_single_row_gives_finite_figures_and_a_moved_file_no_other_key() -> None:
    suite = Retention(Quiz(rows=1))
    _, before, after = suite.requests(TUNED)
    for marks in ("00", "01", "10", "11"):
        scores = suite.score({"before": answers(before, marks[0]), "after": answers(after, marks[1])}, seed=0)
        assert np.isfinite([x for f in scores.metrics.values() for x in (f.value, f.low, f.high)]).all()
    assert suite.fingerprint() == Retention(Quiz(rows=9)).fingerprint()
    assert Retention(Quiz(), rows=3).fingerprint() != suite.fingerprint()
    with pytest.raises(ConfigError, match="0 questions"):
        Retention(Quiz(), rows=0)
