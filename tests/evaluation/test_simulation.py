"""A seeded part of `scripts/bench statistics`: equals are rarely told apart, intervals hold what they should."""

import pytest
from scipy.stats import binom
from simulation import SEARCHES, VERDICTS, World, claims, search, simulate

ROUNDS = 80


@pytest.mark.parametrize(
    "world",
    [
        World("binary", 300, mid_p=True),
        World("groups", 60, 6, group=0.6),
        World("seeds", 150, seeds=3, seed=0.15),
    ],
    ids=lambda world: world.name,
)
def test_a_part_of_the_simulation(world: World) -> None:
    """Bounds that a sound method leaves once in a thousand for each figure; the seed is fixed, so this one never does.
    `scripts/bench statistics rounds=1000` runs more rounds and worlds.
    """
    found = simulate(world, ROUNDS, seed=1)
    assert found.rejected * ROUNDS <= binom.ppf(0.999, ROUNDS, 0.06)
    assert found.score_held * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.94)
    assert found.difference_held * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.94)
    assert found.detected * ROUNDS >= binom.ppf(0.001, ROUNDS, 0.75)


def test_the_simulation_catches_an_interval_that_is_too_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "stepladder.evaluation.statistics.estimates.wilson",
        lambda right, n, confidence: (right / n - 0.02, right / n + 0.02),
    )
    assert simulate(World("binary", 300), ROUNDS, seed=1).score_held < 0.9


@pytest.mark.parametrize(
    "world", [world for world in VERDICTS if world.groups <= 25],
    ids=lambda world: world.name,
)  # fmt: skip
def test_a_verdict_rarely_calls_a_method_working_that_is_not(world: World) -> None:
    """The chance that any of three methods equal to the floor is recommended is at most 5%; a sound rule leaves this
    bound once in a thousand."""
    rounds = 40
    assert claims(world, rounds, seed=1) * rounds <= binom.ppf(0.999, rounds, 0.05)


def test_a_verdict_finds_a_method_that_works() -> None:
    assert claims(World("binary, 60 rows", 60, worth=0.0), 20, ahead=2.0, seed=1) > 0.9
    assert claims(World("binary, 10 rows", 10, worth=0.0), 20, ahead=9.0, seed=1) == 0


def test_a_searched_prompt_rarely_beats_an_equal_one_and_its_luck_is_shown() -> None:
    """Twenty equally good prompts, the best of them on 100 rows: at most 5% claims (with Monte-Carlo error), and the
    luck that is shown agrees with the optimism of the winner."""
    rounds = 60
    found = search(*SEARCHES["20 prompts, 100 rows"], rounds, seed=1)
    assert found.claimed * rounds <= binom.ppf(0.999, rounds, 0.05)
    assert found.luck == pytest.approx(0.06, abs=0.015)
    assert found.optimism == pytest.approx(found.luck, abs=0.015)
