"""Tells how long the rest of a comparison will take, from the runs that it has made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stepladder.runs.expected_time import spoken
from stepladder.runs.stages import Prepared
from stepladder.runs.store import Store

TRAINING_ROW = 3.0
"""A row learnt once takes about as long as so many questions: forward, and twice that backward."""


@dataclass(frozen=True)
class _Work:
    """What a run has to do, in questions asked, by a language model or without one; what is stored takes none."""

    questions: float
    by_model: bool


class Pace:
    """Weighs every run by its work, and measures the seconds that a question takes, with a language model and without.

    Runs without a model say nothing about those with one: their seconds are mostly reading and writing.
    """

    def __init__(self, runs: Sequence[Prepared], store: Store) -> None:
        self._work = [_work(prepared, store) for prepared in runs]
        self._asked, self._seconds, self._number = {True: 0.0, False: 0.0}, {True: 0.0, False: 0.0}, 0
        self._began = time.perf_counter()

    def finish_run(self) -> None:
        """Note that the next run is finished."""
        work, now = self._work[self._number], time.perf_counter()
        if work.questions:
            self._asked[work.by_model] += work.questions
            self._seconds[work.by_model] += now - self._began
        self._began, self._number = now, self._number + 1

    @property
    def left(self) -> str:
        """Seconds for all runs to come, for people; empty if no run like them was measured or none is left."""
        left = {
            by_model: sum(w.questions for w in self._work[self._number :] if w.by_model == by_model)
            for by_model in (True, False)
        }
        kinds = [by_model for by_model, questions in left.items() if questions]
        if not kinds or not all(self._asked[by_model] for by_model in kinds):
            return ""
        seconds = sum(left[kind] * self._seconds[kind] / self._asked[kind] for kind in kinds)
        return f"; about {spoken(seconds)} left"


def _work(prepared: Prepared, store: Store) -> _Work:
    method: Any = prepared.method.object
    by_model = bool(getattr(method, "prompted", True))
    missing = [p for p in prepared.probes.values() if store.find("predictions", prepared.predict_form(p).key) is None]
    asked = float(sum(len(probe.questions) for probe in missing))
    training = getattr(getattr(method, "tuning", None), "training", None)
    if training is None or store.find("fits", prepared.fit_form.key) is not None:
        return _Work(asked, by_model)
    return _Work(asked + TRAINING_ROW * float(training.epochs) * len(prepared.data.train), by_model)
