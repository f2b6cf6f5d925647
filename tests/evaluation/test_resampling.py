"""Draws against enumeration, known variances and known tests."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import t

from stepladder.evaluation.statistics.closed_form import mcnemar
from stepladder.evaluation.statistics.resampling import (
    bias_corrected_interval,
    bootstrap_sums,
    by_cluster,
    permutation_p,
    widened,
)


def mean(sums):
    return sums[..., 0] / sums[..., 1]


def numbers(values):
    return np.column_stack([values, np.ones(len(values))])


def test_a_bootstrap_has_the_standard_error_of_the_mean_and_is_seeded():
    values = np.random.default_rng(0).random(400)
    draws = mean(bootstrap_sums(numbers(values), None, seed=1))
    assert draws.std() == pytest.approx(values.std() / 20, rel=0.05)
    assert np.array_equal(draws, mean(bootstrap_sums(numbers(values), None, seed=1)))
    assert not np.array_equal(draws, mean(bootstrap_sums(numbers(values), None, seed=2)))


def test_every_draw_has_as_many_questions_across_blocks():
    sums = bootstrap_sums(numbers(np.zeros(3000)), None, seed=0, draws=1500)
    assert np.array_equal(sums[:, 1], np.full(1500, 3000))


def test_clusters_are_drawn_whole():
    values = np.repeat(np.random.default_rng(0).random(50), 8)
    clusters = np.repeat(np.arange(50), 8)
    assert by_cluster(numbers(values), clusters).shape == (50, 2)
    alone = mean(bootstrap_sums(numbers(values), None, seed=1)).std()
    whole = mean(bootstrap_sums(numbers(values), clusters, seed=1)).std()
    assert whole / alone == pytest.approx(np.sqrt(8), rel=0.1)


def test_draws_below_the_value_move_the_interval_up():
    draws = np.linspace(0, 1, 10_001)
    assert bias_corrected_interval(draws, 0.5) == pytest.approx((0.025, 0.975), abs=1e-3)
    assert bias_corrected_interval(draws, 0.7) == pytest.approx((0.425, 1.375), abs=1e-3)


def test_draws_that_are_all_below_the_value_keep_the_width_of_their_interval():
    draws = np.random.default_rng(0).normal(0.4, 0.02, 5000)
    low, high = bias_corrected_interval(draws, 0.5)
    assert (low, high) == pytest.approx((0.6 - 1.96 * 0.02, 0.6 + 1.96 * 0.02), abs=2e-3)


def test_few_questions_are_permuted_in_all_ways():
    ours, theirs = np.array([0.9, 0.8, 0.35, 0.6, 0.5]), np.array([0.5, 0.3, 0.45, 0.1, 0.5])
    gaps = ours - theirs
    flips = [abs(np.dot(gaps, signs)) >= abs(gaps.sum()) - 1e-12 for signs in product((1, -1), repeat=5)]
    assert permutation_p(numbers(ours), numbers(theirs), mean, None, seed=0) == pytest.approx(np.mean(flips))


def test_right_and_wrong_answers_permute_to_mcnemar():
    ours, theirs = np.repeat([1.0, 0.0, 1.0], [5, 15, 30]), np.repeat([0.0, 1.0, 1.0], [5, 15, 30])
    p = permutation_p(numbers(ours), numbers(theirs), mean, None, seed=0)
    assert p == pytest.approx(mcnemar(5, 15), abs=0.008)
    assert p == permutation_p(numbers(ours), numbers(theirs), mean, None, seed=0)


def test_clusters_are_swapped_together():
    ours, theirs = np.full(30, 0.6), np.full(30, 0.5)
    assert permutation_p(numbers(ours), numbers(theirs), mean, None, seed=0) == pytest.approx(1e-4)
    assert permutation_p(numbers(ours), numbers(theirs), mean, np.arange(30) // 10, seed=0) == pytest.approx(2 / 8)


def test_equal_sides_have_p_one():
    same = numbers(np.random.default_rng(0).random(20))
    assert permutation_p(same, same, mean, None, seed=0) == 1


def test_few_units_widen_the_draws_as_student_does():
    draws = np.random.default_rng(0).normal(0.5, 0.1, 4000)
    reach = np.quantile(widened(draws, 10), 0.975) - draws.mean()
    assert reach == pytest.approx(t.ppf(0.975, 9) * 0.1 * np.sqrt(10 / 9), rel=0.05)
    assert widened(draws, 2000).std() == pytest.approx(draws.std(), rel=0.002)
    assert np.array_equal(widened(draws, 1), draws)
