"""Retention: rows fixed and rows broken against the base, on another dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.answered import Answered
from stepladder.evaluation.asking import Asked, Material
from stepladder.evaluation.suite import Suite
from stepladder.evaluation.suites.retention import Retention
from stepladder.types import Choice, Decoding, Example, Prediction, Probe, Question, Task, Text

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


MAIN = Probe("main", Task("Say.", Text()), (Question("q", "q"),), Decoding("greedy"))
TUNED = Material(MAIN, (Example(MAIN.questions[0], ("a",)),), tunes=True)


def test_the_other_questions_are_asked_of_the_tuned_model_and_of_its_base_without_passages() -> None:
    suite = Retention(Quiz())
    assert isinstance(suite, Suite)
    main, before, after = suite.probes(TUNED)
    assert main == TUNED.plain
    assert (before.probe.tuned, after.probe.tuned) == (False, True)
    assert replace(before.probe, name="after", tuned=True) == after.probe
    assert after.probe.task == OTHER
    assert after.probe.decoding.mode == "choose"
    assert after.probe.reading is not None
    assert set(after.probe.reading.passages.values()) == {()}  # type: ignore[union-attr]
    assert len(Retention(Quiz(), rows=3).probes(TUNED)[1].examples) == 3


def test_a_search_sees_the_other_dataset_s_validation_rows_and_a_frozen_model_nothing() -> None:
    searched = Retention(Quiz()).probes(replace(TUNED, rows="validation"))
    assert [e.question.id for e in searched[1].examples] == ["v"]
    assert Retention(Quiz()).probes(replace(TUNED, tunes=False)) == (TUNED.plain,)
    assert Retention(Quiz(rows=0)).probes(TUNED) == (TUNED.plain,)
    left = Retention(Quiz()).score({}, seed=0)
    assert (left.metrics, bool(left.details["left_out"])) == ({}, True)


def answered(asked: Asked, marks: str) -> Answered:
    texts = ["yes" if mark == "1" else "no" for mark in marks]
    predictions = tuple(Prediction(q.id, text) for q, text in zip(asked.probe.questions, texts, strict=True))
    return Answered(asked.probe, predictions, asked.examples)


def test_fixed_and_broken_rows_add_up_to_the_change() -> None:
    _, before, after = Retention(Quiz()).probes(TUNED)
    scores = Retention(Quiz()).score(
        {"before": answered(before, "1111110000"), "after": answered(after, "1100001100")}, seed=0
    )
    figures = {name: figure.value for name, figure in scores.metrics.items()}
    assert figures == pytest.approx({"before": 0.6, "after": 0.4, "change": -0.2, "fixed": 0.2, "broken": 0.4})
    assert scores.details["p"] == pytest.approx(0.6875)
    _, broken, fixed = (exhibit.as_dict() for exhibit in scores.exhibits)
    assert [row[0] for row in broken["rows"]] == ["t2", "t3", "t4", "t5"]
    assert [row[0] for row in fixed["rows"]] == ["t6", "t7"]
    assert len(scores.per_question) == 20


def test_a_single_row_gives_finite_figures_and_a_moved_file_no_other_key() -> None:
    suite = Retention(Quiz(rows=1))
    _, before, after = suite.probes(TUNED)
    for marks in ("00", "01", "10", "11"):
        scores = suite.score({"before": answered(before, marks[0]), "after": answered(after, marks[1])}, seed=0)
        assert np.isfinite([x for f in scores.metrics.values() for x in (f.value, f.low, f.high)]).all()
    assert suite.fingerprint() == Retention(Quiz(rows=9)).fingerprint()
    assert Retention(Quiz(), rows=3).fingerprint() != suite.fingerprint()
    with pytest.raises(ConfigError, match="0 questions"):
        Retention(Quiz(), rows=0)
