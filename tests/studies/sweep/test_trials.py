"""The front and the best of finished trials, against their definition."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.results import Trial
from stepladder.studies.sweep.trials import front, stale

QUALITY, COST = Objective("accuracy", "classification"), Objective("training_tokens", None)
VALUES = st.lists(st.tuples(st.integers(0, 5).map(float), st.integers(0, 5).map(float)), min_size=1, max_size=12)


def trials(values: list[tuple[float, ...]]) -> list[Trial]:
    return [Trial(number, "complete", (), {}, each, ended=number) for number, each in enumerate(values)]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a busy machine, not of these tests
@given(VALUES)
def test_the_front_is_what_nothing_beats(values: list[tuple[float, float]]) -> None:
    found = front(trials(values), [QUALITY, COST])
    undominated = {
        (quality, cost)
        for quality, cost in values
        if not any(q >= quality and c <= cost and (q, c) != (quality, cost) for q, c in values)
    }
    assert {trial.values for trial in found} == undominated
    assert len(found) == len(undominated)  # equal points count once
    assert [trial.values[0] for trial in found if trial.values] == sorted((q for q, _ in undominated), reverse=True)


def test_the_front_of_a_known_curve() -> None:
    """Of (x, (x - 2)^2) for x from 0 to 4, first up and second down, what lies left of the foot is beaten."""
    points = [(x / 2, (x / 2 - 2) ** 2) for x in range(9)]
    assert [t.values[0] for t in front(trials(points), [QUALITY, COST]) if t.values] == [4.0, 3.5, 3.0, 2.5, 2.0]


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # of a busy machine, not of these tests
@given(VALUES)
def test_the_best_is_the_first_of_the_highest(values: list[tuple[float, float]]) -> None:
    (best,) = front(trials([each[:1] for each in values]), [QUALITY])
    highest = max(quality for quality, _ in values)
    assert best.number == [quality for quality, _ in values].index(highest)
    assert stale(trials([each[:1] for each in values]), [QUALITY]) == len(values) - 1 - best.number
