"""The time that is left of a comparison, from the runs that were made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from stepladder.runs.costs import Costs
from stepladder.studies import pace

QUESTIONS = 100


class Empty:
    """A store that has nothing."""

    def find(self, kind: str, key: str) -> None:
        return None


EMPTY: Any = Empty()


def run(prompted: bool = True, epochs: float | None = None) -> Any:
    tuning = None if epochs is None else SimpleNamespace(training=SimpleNamespace(epochs=epochs))
    method = SimpleNamespace(prompted=prompted, tuning=tuning)
    form = SimpleNamespace(key="k")
    return SimpleNamespace(
        method=SimpleNamespace(object=method),
        requests={"main": SimpleNamespace(questions=range(QUESTIONS))},
        predict_form=lambda request: form,
        fit_form=form,
        data=SimpleNamespace(train=range(QUESTIONS)),
    )


def costs(question: float, fit: float = 0.0) -> Costs:
    return Costs(seconds_per_question=question, fit_seconds=fit)


def test_runs_without_a_model_say_nothing_of_runs_with_one() -> None:
    runs = [run(prompted=False), run(prompted=False), run(), run(), run(epochs=1), run(epochs=2)]
    paced = pace.Pace(runs, EMPTY)
    said = []
    for cost in (costs(0.1), costs(0.3), costs(0.2), costs(0.2), costs(0.2, fit=100)):
        said.append(paced.left)
        paced.finish_run(cost)
    # 100 questions take 20 s; a training row counts as three questions until one was measured: 1 s.
    assert said == ["", "", "", "; about 4 min left", "; about 4 min left"]
    assert paced.left == "; about 4 min left"
    paced.finish_run(costs(0.2, fit=200))
    assert paced.left == ""


def test_runs_without_a_model_are_measured_by_themselves() -> None:
    paced = pace.Pace([run(prompted=False), run(prompted=False)], EMPTY)
    paced.finish_run(costs(0.3))
    assert paced.left == "; about 30 s left"
