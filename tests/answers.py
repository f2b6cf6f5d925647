"""Answered probes from a few plain lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from stepladder.evaluation.answered import Answered
from stepladder.types import Answer, Choice, Decoding, Example, Prediction, Probe, Question, Task, Text

Asked = Callable[..., Answered]


@pytest.fixture
def asked() -> Asked:
    """asked(texts, answers): predictions beside the answers that count, ids q0, q1, ...; a text None is a failure."""

    def make(
        texts: Sequence[str | None],
        answers: Sequence[str | tuple[str, ...]],
        answer: Answer | None = None,
        groups: Sequence[str | None] | None = None,
        ids: Sequence[str] | None = None,
    ) -> Answered:
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
        probe = Probe("main", task, tuple(example.question for example in examples), Decoding("greedy"))
        return Answered(probe, predictions, examples)

    return make


@pytest.fixture
def right_wrong(asked: Asked) -> Callable[..., Answered]:
    """right_wrong("1101"): a choice task where the answer is always yes and a 1 is a right answer."""

    def make(marks: str, **more: object) -> Answered:
        return asked(
            ["yes" if mark == "1" else "no" for mark in marks], ["yes"] * len(marks), Choice(("yes", "no")), **more
        )

    return make
