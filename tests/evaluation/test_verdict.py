"""The cells of a ladder and the rung that the evidence supports."""

import pytest

from stepladder.errors import ConfigError, DataError
from stepladder.evaluation.ladder import compared
from stepladder.evaluation.metrics import Accuracy, MacroF1
from stepladder.evaluation.statistics import holm, mcnemar
from stepladder.evaluation.verdict import verdict
from stepladder.records import Choice

METRICS = {"accuracy": Accuracy(), "macro_f1": MacroF1()}


def ladder(right_wrong, **marks):
    rungs = {name: [right_wrong(each)] for name, each in marks.items()}
    return compared({"accuracy": Accuracy()}, rungs, baseline=next(iter(rungs)), main="accuracy", seed=0)


def judged(cells, **more):
    return verdict(cells, [cell["name"] for cell in cells], "accuracy", **{"margin": 0.02, **more})


def test_a_cell_differs_to_the_baseline_the_rung_below_and_the_best(right_wrong):
    low, middle, high = "1" * 20 + "0" * 80, "1" * 60 + "0" * 40, "0" * 5 + "1" * 95
    cells = ladder(right_wrong, low=low, middle=middle, high=high)
    assert [cell["name"] for cell in cells] == ["low", "middle", "high"]
    assert "difference" not in cells[0]
    assert "to_below" not in cells[0]
    assert "to_best" not in cells[2]
    assert cells[2]["difference"]["accuracy"]["value"] == pytest.approx(0.75)
    assert cells[2]["to_below"]["name"] == "middle"
    assert cells[2]["to_below"]["difference"]["accuracy"]["value"] == pytest.approx(0.35)
    assert cells[0]["to_best"]["name"] == "high"
    assert cells[0]["to_best"]["difference"]["accuracy"]["value"] == pytest.approx(-0.75)
    p_values = [mcnemar(40, 0), mcnemar(80, 5)]
    assert [cell["difference"]["accuracy"]["p_adjusted"] for cell in cells[1:]] == pytest.approx(holm(p_values))


def test_rungs_on_other_rows_are_refused(right_wrong):
    with pytest.raises(DataError, match="q2"):
        ladder(right_wrong, one="111", two="11")


def test_an_unknown_baseline_or_a_main_metric_that_says_nothing_is_refused(right_wrong, asked):
    with pytest.raises(ConfigError, match="did you mean 'zero_shot'"):
        compared(METRICS, {"zero_shot": [right_wrong("1")]}, "zeroshot", "accuracy", seed=0)
    own = {"zero_shot": [asked(["a"], ["a"], Choice())]}
    assert list(compared(METRICS, own, "zero_shot", "accuracy", seed=0)[0]["scores"]) == ["accuracy"]
    with pytest.raises(ConfigError, match="macro_f1"):
        compared(METRICS, own, "zero_shot", "macro_f1", seed=0)


def test_the_simplest_rung_within_the_margin_is_recommended(right_wrong):
    near = "1" * 897 + "0" * 103
    found = judged(ladder(right_wrong, floor="10" * 500, near=near, best="1" * 900 + "0" * 100))
    assert found["recommended"] == "near"
    assert found["best"] == "best"
    assert found["undecided"] == []
    assert "within 0.02" in found["reason"]


def test_a_clear_gain_is_climbed_for(right_wrong):
    found = judged(ladder(right_wrong, floor="10" * 100, best="1" * 180 + "0" * 20))
    assert (found["recommended"], found["undecided"]) == ("best", [])
    assert "too few" not in found["reason"]


def test_too_few_questions_are_told_instead_of_no_difference(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 13 + "0" * 7, best="1" * 14 + "0" * 6))
    assert found["recommended"] == "best"
    assert found["undecided"] == ["simple"]
    assert "20 questions are too few to tell whether simple is enough" in found["reason"]


def test_of_equal_rungs_the_simplest_is_best(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 20, dear="1" * 20))
    assert (found["recommended"], found["best"]) == ("simple", "simple")


def test_a_target_is_met_by_the_interval_and_not_by_luck(right_wrong):
    cells = ladder(right_wrong, poor="10" * 100, lucky="1" * 181 + "0" * 19, sure="1" * 198 + "0" * 2)
    found = judged(cells, target=0.9)
    assert (found["recommended"], found["undecided"]) == ("sure", ["lucky"])
    none = judged(cells, target=0.999)
    assert none["recommended"] is None
    assert "No rung is shown to reach accuracy 0.999" in none["reason"]


def test_the_order_is_the_ladders_and_not_the_cells(right_wrong):
    cells = ladder(right_wrong, dear="1" * 897 + "0" * 103, best="1" * 900 + "0" * 100, cheap="1" * 898 + "0" * 102)
    assert verdict(cells, ["cheap", "dear", "best"], "accuracy", 0.02)["recommended"] == "cheap"
