"""The step `shortlist`: something cheap keeps a few labels, and the model chooses among them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt
from stepladder.errors import ConfigError, Fault
from stepladder.methods.method import Method
from stepladder.methods.workflow.step import Ask
from stepladder.resources import Resources
from stepladder.types import Choice, Decoding, EvalRequest, Prediction, Task, TrainingData


@dataclass
class Shortlist:
    """Keeps the `k` most probable labels of each question; the model sees and chooses among these alone.

    The share of questions whose right label is kept, the recall at k, is the highest accuracy that the workflow can
    reach. With `k` at least the number of labels, nothing is changed.

    Args:
        k: Number of labels that are kept, in the task's order.
        by: A method that gives probabilities of labels, such as `Embedding` or `Linear`; or `Demonstrations`, whose
            labels are taken from the nearest training row on until there are `k` different ones.
    """

    k: int
    by: Method | Context
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(Fault("k", f"k is {self.k}", "keep at least 1 label"))

    @property
    def reads(self) -> frozenset[str]:
        return self.by.reads | {"labels"}

    def check(self, task: Task, decoding: Decoding, prompt: Prompt, context: Context) -> None:
        if not (isinstance(task.answer, Choice) and task.answer.labels):
            kind = "every question has its own choices" if isinstance(task.answer, Choice) else f"a {task.kind} task"
            what = f"a shortlist of labels needs labels that all questions share: {kind}"
            raise ConfigError(Fault("", what, "leave this step out"))

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        self.by.fit(data, resources, seed)

    def answer(self, request: EvalRequest, ask: Ask, resources: Resources) -> list[Prediction]:
        answer = request.task.answer
        assert isinstance(answer, Choice)
        if self.k >= max((len(q.choices or answer.labels) for q in request.questions), default=0):
            return ask(request)
        began = time.perf_counter()
        best = [set(ranked[: self.k]) for ranked in self._ranked(request, resources)]
        kept = [
            tuple(label for label in question.choices or answer.labels if label in own)
            for question, own in zip(request.questions, best, strict=True)
        ]
        seconds = (time.perf_counter() - began) / len(kept)
        questions = tuple(replace(q, choices=own) for q, own in zip(request.questions, kept, strict=True))
        # Without labels of its own, a task whose prompt lists the labels lists each question's choices instead.
        inner = replace(request, task=replace(request.task, answer=replace(answer, labels=())), questions=questions)
        return [
            replace(
                found,
                probabilities=_of_all(found, question.choices or answer.labels, request.decoding),
                seconds=found.seconds + seconds,
                candidates=own,
            )
            for found, own, question in zip(ask(inner), kept, request.questions, strict=True)
        ]

    def _ranked(self, request: EvalRequest, resources: Resources) -> list[Sequence[str]]:
        """The labels of each question, the most probable first."""
        if isinstance(self.by, Method):
            asked = replace(request, decoding=Decoding("choose"), override=None)
            shares = [found.probabilities or {} for found in self.by.predict(asked, resources)]
            return [sorted(own, key=own.__getitem__, reverse=True) for own in shares]
        return [
            list(dict.fromkeys(row.answers[0] for row in reversed(shown.demonstrations)))
            for shown in self.by.show(request.questions)
        ]

    def save(self, folder: Path) -> None:
        self.by.save(folder)

    def load(self, folder: Path, resources: Resources) -> None:
        self.by.load(folder, resources)


def _of_all(found: Prediction, labels: Sequence[str], decoding: Decoding) -> dict[str, float] | None:
    """Probabilities of all labels: 0 for those that were not kept."""
    if found.probabilities is None:
        return None
    shown = found.probabilities if decoding.probabilities == "best" else labels
    return {label: found.probabilities.get(label, 0.0) for label in shown}
