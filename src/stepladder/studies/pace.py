"""Estimates the time left of a comparison from the costs of its finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from stepladder.runs.costs import Costs
from stepladder.runs.expected_time import spoken
from stepladder.runs.stages import Prepared
from stepladder.store.store import Store

TRAINING_ROW = 3.0
"""Training on a row once takes about as long as so many questions: forward, and twice that backward."""


@dataclass(frozen=True)
class _Work:
    """What a run has to do: `questions` to answer, and training `rows` times epochs. `by_model`: a language model
    answers."""

    questions: int
    rows: float
    by_model: bool


class Pace:
    """The work of all runs, and the seconds that a question and a training row took in the finished ones.

    Starting, loading and scoring are left out: they are paid once, and say nothing about the rest.
    """

    def __init__(self, runs: Sequence[Prepared], store: Store) -> None:
        self._work = [_work(prepared, store) for prepared in runs]
        self._number = 0
        self._of_question: dict[bool, list[float]] = {True: [], False: []}
        self._of_row: list[float] = []

    def finish_run(self, costs: Costs) -> None:
        """Note that the next run is finished, and what it cost (`Run.costs`)."""
        work = self._work[self._number]
        self._number += 1
        self._of_question[work.by_model].append(costs.seconds_per_question)
        if work.rows:
            self._of_row.append(float(costs.fit_seconds or 0.0) / work.rows)

    @property
    def left(self) -> str:
        """Seconds for all runs to come, for people; empty if no run like them was measured or none is left."""
        seconds = 0.0
        for work in self._work[self._number :]:
            measured = self._of_question[work.by_model]
            if measured:
                question = mean(measured)
                row = mean(self._of_row) if self._of_row else TRAINING_ROW * question
                seconds += work.questions * question + work.rows * row
            elif work.questions or work.rows:
                return ""
        return f"; about {spoken(seconds)} left" if seconds >= 1 else ""


def _work(prepared: Prepared, store: Store) -> _Work:
    """What is stored is no work."""
    method: Any = prepared.method.object
    missing = [p for p in prepared.requests.values() if store.find("predictions", prepared.predict_form(p).key) is None]
    training: Any = getattr(getattr(method, "tuning", None), "training", None)
    learns = training is not None and store.find("fits", prepared.fit_form.key) is None
    return _Work(
        questions=sum(len(request.questions) for request in missing),
        rows=float(training.epochs) * len(prepared.data.train) if learns else 0.0,
        by_model=bool(getattr(method, "prompted", True)),
    )
