"""The time that is left of a comparison, from the runs that were made."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stepladder.studies import pace

QUESTIONS = 100


class Empty:
    """A store that has nothing."""

    def find(self, kind: str, key: str) -> None:
        return None


def run(prompted: bool = True, epochs: float | None = None) -> Any:
    tuning = None if epochs is None else SimpleNamespace(training=SimpleNamespace(epochs=epochs))
    method = SimpleNamespace(prompted=prompted, tuning=tuning)
    form = SimpleNamespace(key="k")
    return SimpleNamespace(
        method=SimpleNamespace(object=method),
        probes={"main": SimpleNamespace(questions=range(QUESTIONS))},
        predict_form=lambda probe: form,
        fit_form=form,
        data=SimpleNamespace(train=range(QUESTIONS)),
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]

    def wait(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(pace.time, "perf_counter", lambda: now[0])
    return wait


def test_runs_without_a_model_say_nothing_of_runs_with_one(clock: Callable[[float], None]) -> None:
    paced = pace.Pace([run(prompted=False), run(prompted=False), run(), run(), run(epochs=1)], Empty())  # type: ignore[arg-type]
    said = []
    for seconds in (60, 1, 20, 20, 80):
        said.append(paced.left)
        clock(seconds)
        paced.finish_run()
    # A run of 100 questions takes 20 seconds; one that learns 100 rows as well is four times as much work.
    assert said == ["", "", "", "; about 2 min left", "; about 80 s left"]
    assert paced.left == ""


def test_runs_without_a_model_are_measured_by_themselves(clock: Callable[[float], None]) -> None:
    paced = pace.Pace([run(prompted=False), run(prompted=False)], Empty())  # type: ignore[arg-type]
    clock(30)
    paced.finish_run()
    assert paced.left == "; about 30 s left"
