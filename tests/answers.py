"""Answers requests from a few plain lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from stepladder.evaluation.answers import Answers
from stepladder.types import Answer, Choice, Decoding, EvalRequest, Example, Prediction, Question, Task, Text

EvalBatch = Callable[..., Answers]


@pytest.fixture
def asked() -> EvalBatch:
    """asked(texts, answers): predictions beside the answers that count, ids q0, q1, ...; a text None is a failure."""

    def make(
        texts: Sequence[str | None],
        answers: Sequence[str | tuple[str, ...]],
        answer: Answer | None = None,
        groups: Sequence[str | None] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Answers:
        ids = ids or [f"q{i}" for i in range(len(answers))]
        groups = groups or [None] * len(answers)
        examples = tuple(
            Example(Question(id_, f"question {id_}", group=group), (a,) if isinstance(a, str) else a)
            for id_, a, group in zip(ids, answers, groups, strict=True)
        )
        predictions = tuple(
            Prediction(id_, "no idea", failure="no label") if text is None else Prediction(id_, text)
            for id_, text in zip(ids, texts, strict=True)
        )
        task = Task("Answer.", answer if answer is not None else Text())
        request = EvalRequest("main", task, tuple(example.question for example in examples), Decoding("greedy"))
        return Answers(request, predictions, examples)

    return make


@pytest.fixture
def right_wrong(asked: EvalBatch) -> Callable[..., Answers]:
    """right_wrong("1101"): a choice task where the answer is always yes and a 1 is a right answer."""

    def make(marks: str, **more: object) -> Answers:
        return asked(
            ["yes" if mark == "1" else "no" for mark in marks], ["yes"] * len(marks), Choice(("yes", "no")), **more
        )

    return make
