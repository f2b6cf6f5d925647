"""Closed forms against published figures."""

import numpy as np
import pytest
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests

from stepladder.evaluation.statistics.closed_form import (
    benjamini_hochberg,
    detectable_difference,
    detectable_of,
    holm,
    joined_interval,
    mcnemar,
    paired_share_interval,
    wilson,
)


@pytest.mark.parametrize(
    ("wins", "losses", "exact", "mid"),
    [
        (5, 15, 0.041389, 0.026604),
        (10, 25, 0.016674, 0.011331),
        (6, 22, 0.003719, 0.002316),
        (40, 60, 0.056888, 0.046044),
        (1, 7, 0.070312, 0.039062),
    ],
)
def test_mcnemar_exact_and_mid_p(wins, losses, exact, mid):
    for one, two in ((wins, losses), (losses, wins)):
        assert mcnemar(one, two) == pytest.approx(exact, abs=1e-6)
        assert mcnemar(one, two, mid_p=True) == pytest.approx(mid, abs=1e-6)


def test_mcnemar_finds_nothing_where_nothing_differs():
    assert mcnemar(0, 0) == mcnemar(8, 8) == 1
    assert mcnemar(2, 2, mid_p=True) == pytest.approx(1 - 6 / 16 / 2)


def test_adjusted_p_values_keep_their_order():
    assert holm([0.001, 0.012, 0.02, 0.04, 0.3]) == pytest.approx([0.005, 0.048, 0.06, 0.08, 0.3])
    assert benjamini_hochberg([0.001, 0.012, 0.02, 0.04, 0.3]) == pytest.approx([0.005, 0.03, 0.1 / 3, 0.05, 0.3])
    assert holm([0.3, 0.001, 0.04, 0.012, 0.02]) == pytest.approx([0.3, 0.005, 0.08, 0.048, 0.06])
    assert holm([]) == benjamini_hochberg([]) == []


def test_holm_is_statsmodels_to_the_last_bit():
    generator = np.random.default_rng(0)
    for size in (1, 2, 5, 40):
        p_values = np.round(generator.random(size) ** 3, 2).tolist()  # with ties
        assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist()


def test_intervals_of_a_share():
    assert wilson(450, 500) == pytest.approx((0.8706, 0.9233), abs=5e-5)


def test_the_paired_interval_is_agresti_and_mins():
    # net 10 of n 100 with 30 discordant: (10 -/+ 1.96 sqrt(31 - 100 / 102)) / 102
    assert paired_share_interval(20, 10, 100) == pytest.approx((-0.007242, 0.203320), abs=1e-6)
    low, high = paired_share_interval(0, 0, 100)
    assert -low == high == pytest.approx(1.96 / 102, abs=1e-4)
    assert paired_share_interval(3, 0, 3)[1] == 1


@pytest.mark.parametrize(
    ("n", "points"), [(390, (3.1, 4.4, 6.3, 7.7)), (1115, (1.9, 2.6, 3.7, 4.6)), (3080, (1.1, 1.6, 2.2, 2.8))]
)
def test_the_detectable_difference_is_the_normal_approximations(n, points):
    """2.80 sqrt((q - d^2) / n), solved for d by another way: halving."""
    for disagreement, wanted in zip((0.05, 0.1, 0.2, 0.3), points, strict=True):
        found = detectable_difference(disagreement, n)
        low, high = 0.0, disagreement
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if middle < 2.801585 * ((disagreement - middle**2) / n) ** 0.5 else (low, middle)
        assert found == pytest.approx(low, abs=1e-6)
        assert found * 100 == pytest.approx(wanted, abs=0.06)


def test_a_difference_is_detected_as_often_as_is_said():
    """By all outcomes of McNemar's test, without the approximation: n 400, disagreement .2, mid-p."""
    n, disagreement = 400, 0.2
    gap = detectable_difference(disagreement, n)
    better, worse = (disagreement + gap) / 2, (disagreement - gap) / 2
    power = 0.0
    for discordant in range(30, 140):
        here = binom.pmf(discordant, n, disagreement)
        wins = np.arange(discordant + 1)
        found = [mcnemar(int(w), int(discordant - w), mid_p=True) < 0.05 for w in wins]
        power += here * float(binom.pmf(wins, discordant, better / (better + worse))[found].sum())
    assert power == pytest.approx(0.8, abs=0.02)


def test_the_detectable_difference_grows_with_a_stricter_level_up_to_the_disagreement():
    assert detectable_difference(0.1, 200, level=0.05 / 7) > detectable_difference(0.1, 200)
    assert detectable_difference(0.1, 200, power=0.9) > detectable_difference(0.1, 200)
    few = detectable_difference(0.01, 20)  # a fifth of one question: the sides would have to disagree more
    assert few == pytest.approx(detectable_difference(few, 20))
    assert detectable_difference(1, 1) < 1
    assert detectable_of(1.959964 * 0.01) == pytest.approx(0.02801585)


def test_a_second_part_of_chance_widens_an_interval_by_squares() -> None:
    assert joined_interval(0.5, (0.44, 0.58), 0.0, 2) == (0.44, 0.58)
    reach = 4.302653 * 0.02  # Student's t with two degrees of freedom
    wanted = 0.5 - (0.06**2 + reach**2) ** 0.5, 0.5 + (0.08**2 + reach**2) ** 0.5
    assert joined_interval(0.5, (0.44, 0.58), 0.02**2, 2) == pytest.approx(wanted)
    assert joined_interval(0.5, (0.6, 0.7), 0.02**2, 2)[0] == pytest.approx(0.5 - reach)
