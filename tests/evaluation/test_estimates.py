"""Values with intervals, and paired differences, of one run or several a side."""

import numpy as np
import pytest
from scipy.stats import permutation_test, t

from stepladder.errors import DataError
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1, Mean
from stepladder.evaluation.metrics.text import TokenF1
from stepladder.evaluation.statistics.closed_form import detectable_difference, mcnemar, paired_share_interval, wilson
from stepladder.evaluation.statistics.estimates import Side, at_least, difference, measure, paired_difference
from stepladder.types import Choice

GRADED = Mean(lambda prediction, example: float(prediction.text))


def test_a_share_of_independent_questions_has_wilsons_interval(right_wrong):
    found = measure(Accuracy(), right_wrong("1" * 45 + "0" * 5), seed=0)
    assert (found.value, found.n) == (0.9, 50)
    assert (found.low, found.high) == pytest.approx(wilson(45, 50))


def test_the_interval_holds_the_value_and_widens_with_clusters(right_wrong):
    marks = "".join(np.random.default_rng(1).choice(["1", "0"], 10).repeat(10))
    alone = measure(Accuracy(), right_wrong(marks), seed=0)
    grouped = measure(Accuracy(), right_wrong(marks, groups=[str(i // 10) for i in range(100)]), seed=0)
    assert grouped.low <= grouped.value == alone.value <= grouped.high
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_a_bootstrap_is_settled_by_its_seed_and_not_by_the_order_of_rows(asked):
    scores = [f"{x:.3f}" for x in np.random.default_rng(0).random(60)]
    straight = asked(scores, ["x"] * 60)
    turned = asked(scores[::-1], ["x"] * 60, ids=straight.ids[::-1])
    assert measure(GRADED, straight, seed=5) == measure(GRADED, turned, seed=5)
    assert measure(GRADED, straight, seed=5) != measure(GRADED, straight, seed=6)


def test_equal_rows_do_not_make_certainty(asked):
    found = measure(TokenF1(), asked(["tea"] * 20, ["tea"] * 20), seed=0)
    assert found.value == found.high == 1
    assert found.low == pytest.approx(wilson(20, 20)[0])
    same = paired_difference(TokenF1(), asked(["tea"] * 20, ["tea"] * 20), asked(["tea"] * 20, ["tea"] * 20), seed=0)
    assert (same.value, same.p) == (0, 1)
    assert same.low == pytest.approx(paired_share_interval(0, 0, 20)[0])
    assert same.at_least < 0


def test_right_and_wrong_are_compared_by_mcnemar(right_wrong):
    ours, theirs = right_wrong("1" * 15 + "0" * 5 + "1" * 30), right_wrong("0" * 15 + "1" * 5 + "1" * 30)
    found = paired_difference(Accuracy(), ours, theirs, seed=0)
    assert (found.value, found.n, found.wins, found.losses) == (pytest.approx(0.2), 50, 15, 5)
    assert found.p == mcnemar(15, 5)
    assert (found.low, found.high) == pytest.approx(paired_share_interval(15, 5, 50))
    assert found.low < found.at_least < found.value


def test_every_difference_has_its_minimum_detectable_effect(right_wrong, asked):
    ours, theirs = right_wrong("1" * 15 + "0" * 5 + "1" * 30), right_wrong("0" * 15 + "1" * 5 + "1" * 30)
    found = paired_difference(Accuracy(), ours, theirs, seed=0)
    assert found.detectable == pytest.approx(detectable_difference(21 / 52, 50))
    strict = difference(Side(Accuracy(), ours), Side(Accuracy(), theirs), seed=0, mid_p=True, level=0.05 / 7)
    assert strict.detectable == pytest.approx(detectable_difference(21 / 52, 50, 0.05 / 7))
    assert strict.p == mcnemar(15, 5, mid_p=True) < found.p
    generator = np.random.default_rng(0)
    one, two = generator.random(400), generator.random(400)
    graded = paired_difference(GRADED, asked(map(str, one), ["x"] * 400), asked(map(str, two), ["x"] * 400), seed=0)
    assert graded.detectable == pytest.approx(2.8 * np.std(one - two) / 20, rel=0.05)
    same = paired_difference(Accuracy(), ours, ours, seed=0)
    assert 0 < same.detectable < 1


def test_one_group_or_groups_all_alike_do_not_make_certainty(right_wrong):
    for groups in (["a"] * 20, [f"g{i // 10}" for i in range(20)]):
        ours, theirs = right_wrong("1110000000" * 2, groups=groups), right_wrong("0" * 20, groups=groups)
        found = paired_difference(Accuracy(), ours, theirs, seed=0)
        assert found.value == pytest.approx(0.3)
        assert found.low < 0 < found.high
        assert found.at_least < 0
        assert found.detectable > 0.5
        value = measure(Accuracy(), ours, seed=0)
        assert value.low < 0.1
        assert value.high > 0.6


def test_the_lower_bound_of_a_score_is_one_sided(right_wrong):
    share = Side(Accuracy(), right_wrong("1" * 45 + "0" * 5))
    assert at_least(share, seed=0) == pytest.approx(wilson(45, 50, confidence=0.9)[0])
    runs = Side(Accuracy(), [right_wrong("1" * right + "0" * (100 - right)) for right in (70, 80, 90)])
    assert measure(Accuracy(), runs.runs, seed=0).low < at_least(runs, seed=0) < runs.value


def test_graded_scores_are_compared_by_permutation(asked):
    generator = np.random.default_rng(0)
    ours, theirs = generator.random(40), generator.random(40) * 0.8
    found = paired_difference(GRADED, asked(map(str, ours), ["x"] * 40), asked(map(str, theirs), ["x"] * 40), seed=0)
    wanted = permutation_test((ours, theirs), lambda a, b: np.mean(a - b), permutation_type="samples", rng=0).pvalue
    assert found.value == pytest.approx(np.mean(ours - theirs))
    assert found.p == pytest.approx(wanted, abs=0.01)
    assert found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.std(ours - theirs) / np.sqrt(40), rel=0.1)


def test_groups_are_compared_whole(right_wrong):
    groups = [str(i // 10) for i in range(60)]
    ours, theirs = right_wrong("1" * 60, groups=groups), right_wrong("0" * 10 + "1" * 50, groups=groups)
    assert paired_difference(Accuracy(), ours, theirs, seed=0).p == 1  # one cluster differs: both ways are as extreme


def test_a_metric_of_the_whole_is_compared_without_counting_questions(asked):
    gold = ["a", "b"] * 30
    ours, theirs = asked(gold, gold, Choice(("a", "b"))), asked(["a"] * 60, gold, Choice(("a", "b")))
    found = paired_difference(MacroF1(), ours, theirs, seed=0)
    assert found.value == pytest.approx(1 - 1 / 3)
    assert (found.wins, found.losses) == (None, None)
    assert found.p < 0.001


def test_swapping_sides_turns_the_sign(asked):
    generator = np.random.default_rng(0)
    one, two = (asked(map(str, generator.random(40)), ["x"] * 40) for _ in range(2))
    there, back = paired_difference(GRADED, one, two, seed=0), paired_difference(GRADED, two, one, seed=0)
    assert there.value == pytest.approx(-back.value)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.p == pytest.approx(back.p)


def test_seeds_that_disagree_widen_the_interval_like_students_t(right_wrong):
    runs = [right_wrong("1" * right + "0" * (1000 - right)) for right in (700, 800, 900)]
    found = measure(Accuracy(), runs, seed=0)
    assert found.value == pytest.approx(0.8)
    reach = t.ppf(0.975, 2) * np.std([0.7, 0.8, 0.9], ddof=1) / np.sqrt(3)
    assert min(1, 0.8 + reach) - 0.02 <= found.high <= 1
    assert found.low == pytest.approx(0.8 - reach, abs=0.03)


def test_a_lucky_seed_alone_is_no_finding(right_wrong):
    steady = right_wrong("10" * 250)
    runs = [right_wrong("1" * right + "0" * (500 - right)) for right in (230, 250, 320)]
    assert paired_difference(Accuracy(), runs[2], steady, seed=0).p < 0.001
    assert paired_difference(Accuracy(), runs, steady, seed=0).p > 0.2


def test_clear_and_steady_runs_are_a_finding(right_wrong):
    low, high = [right_wrong("1" * n + "0" * (300 - n)) for n in (90, 93, 96)], right_wrong("1" * 270 + "0" * 30)
    found = paired_difference(Accuracy(), high, low, seed=0)
    assert found.p < 0.01
    assert found.low > 0.4


def test_other_questions_are_refused(asked):
    with pytest.raises(DataError, match="q1"):
        paired_difference(TokenF1(), asked(["x", "y"], ["x", "y"]), asked(["x"], ["x"]), seed=0)


def test_no_question_is_no_measure(asked):
    with pytest.raises(DataError, match="no question"):
        measure(Accuracy(), asked([], []), seed=0)


def test_null_comparisons_rarely_reject(right_wrong):
    """One in twenty at most, by simulation; few here, many in the bench."""
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        sides = [right_wrong("".join(generator.choice(["1", "0"], 80))) for _ in range(2)]
        rejected += paired_difference(Accuracy(), *sides, seed=0).p < 0.05
    assert rejected <= 18  # 200 x 0.05, and 2.6 standard errors
