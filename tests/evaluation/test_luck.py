"""The expected luck of the best of several trials."""

import numpy as np
import pytest

from stepladder.evaluation.statistics.luck import expected_luck


def test_the_luck_of_independent_trials_is_that_of_normal_maxima() -> None:
    scores = np.random.default_rng(0).random((20, 100)) < 0.5
    found = expected_luck(scores.astype(float), None, seed=1)
    assert found.value == pytest.approx(1.867 * 0.05, abs=0.01)  # the mean maximum of 20 standard normal values
    assert str(found) == "Best of 20 on 100 validation rows: about +0.09 would be luck."


def test_trials_that_answer_alike_leave_no_luck() -> None:
    row = np.random.default_rng(0).random(50) < 0.7
    assert expected_luck(np.tile(row, (8, 1)).astype(float), None, seed=1).value == 0
    assert expected_luck(row[None].astype(float), None, seed=1).value == pytest.approx(0)


def test_groups_are_permuted_together_and_leave_more_luck() -> None:
    generator = np.random.default_rng(2)
    clusters = np.repeat(np.arange(25), 4)
    scores = np.repeat(generator.random((10, 25)) < 0.5, 4, axis=1).astype(float)
    grouped, single = (expected_luck(scores, groups, seed=1).value for groups in (clusters, None))
    assert grouped == pytest.approx(2 * single, rel=0.1)  # a quarter of the units: twice the standard error
