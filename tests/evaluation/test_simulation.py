"""A seeded part of `scripts/bench statistics`: equals are rarely told apart, intervals hold what they should."""

import sys
from pathlib import Path

import pytest
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "benchmarks"))

from simulation import World, simulate

ROUNDS = 150


@pytest.mark.parametrize(
    "world",
    [
        World("right or wrong", 300, mid_p=True),
        World("groups", 60, 6, group=0.6),
        World("seeds", 150, seeds=3, seed=0.15),
    ],
    ids=lambda world: world.name,
)
def test_a_part_of_the_simulation(world: World) -> None:
    """Bounds that a sound method leaves once in a thousand, for each figure."""
    found = simulate(world, ROUNDS, seed=1)
    assert found.rejected * ROUNDS <= binom.ppf(0.999, ROUNDS, 0.06)
    assert found.score_held * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.94)
    assert found.difference_held * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.94)
    assert found.detected * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.75)


def test_the_simulation_catches_an_interval_that_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stepladder.evaluation.estimates.wilson", lambda right, n, confidence: (right / n - 0.02, right / n + 0.02)
    )
    assert simulate(World("right or wrong", 300), ROUNDS, seed=1).score_held < 0.9
