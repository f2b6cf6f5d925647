"""Tells how long the rest of a comparison will take, from the runs that it has made."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from stepladder.runs.expected_time import spoken
from stepladder.runs.stages import Prepared
from stepladder.runs.store import Store

TRAINING_ROW = 3.0
"""A row learnt once takes about as long as so many questions: forward, and twice that backward."""

WITHOUT_MODEL = 0.01
"""A question to a method without a language model, against one with."""


class Pace:
    """Weighs every run by its work, and measures the seconds that a unit of work takes."""

    def __init__(self, runs: Sequence[Prepared], store: Store) -> None:
        self._work = [_work(prepared, store) for prepared in runs]
        self._done, self._seconds, self._number = 0.0, 0.0, 0
        self._began = time.perf_counter()

    def finish_run(self) -> None:
        """Note that the next run is finished."""
        work, now = self._work[self._number], time.perf_counter()
        if work >= 1:  # less is mostly reading and writing, which says nothing about a model
            self._done, self._seconds = self._done + work, self._seconds + now - self._began
        self._began, self._number = now, self._number + 1

    @property
    def left(self) -> str:
        """Seconds for all runs to come, for people; empty while nothing was measured, or when nothing is left."""
        work = sum(self._work[self._number :])
        return f"; about {spoken(work * self._seconds / self._done)} left" if self._done and work >= 1 else ""


def _work(prepared: Prepared, store: Store) -> float:
    """The work of a run, in questions asked of a model; what is stored takes none."""
    method: Any = prepared.method.object
    each = 1.0 if getattr(method, "prompted", True) else WITHOUT_MODEL
    missing = [p for p in prepared.probes.values() if store.find("predictions", prepared.predict_form(p).key) is None]
    asked = each * sum(len(probe.questions) for probe in missing)
    training = getattr(getattr(method, "tuning", None), "training", None)
    if training is None or store.find("fits", prepared.fit_form.key) is not None:
        return asked
    return asked + TRAINING_ROW * float(training.epochs) * len(prepared.data.train)
