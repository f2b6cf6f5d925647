"""Closed forms against published figures."""

import pytest

from stepladder.evaluation.statistics import (
    benjamini_hochberg,
    clopper_pearson,
    holm,
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


def test_intervals_of_a_share():
    assert wilson(450, 500) == pytest.approx((0.8706, 0.9233), abs=5e-5)
    assert clopper_pearson(18, 100) == pytest.approx((0.1103, 0.2695), abs=5e-5)
    assert clopper_pearson(0, 100) == pytest.approx((0, 0.0362), abs=5e-5)
    assert clopper_pearson(0, 16) == pytest.approx((0, 0.2059), abs=5e-5)


def test_the_paired_interval_is_agresti_and_mins():
    # net 10 of n 100 with 30 discordant: (10 -/+ 1.96 sqrt(31 - 100 / 102)) / 102
    assert paired_share_interval(20, 10, 100) == pytest.approx((-0.007242, 0.203320), abs=1e-6)
    low, high = paired_share_interval(0, 0, 100)
    assert -low == high == pytest.approx(1.96 / 102, abs=1e-4)
    assert paired_share_interval(3, 0, 3)[1] == 1
