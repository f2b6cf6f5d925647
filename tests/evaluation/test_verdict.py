"""The cells of a ladder and the rung that the evidence supports."""

import pytest

from stepladder.errors import ConfigError, DataError
from stepladder.evaluation.ladder import Rules, compared
from stepladder.evaluation.metrics import Accuracy, MacroF1
from stepladder.evaluation.statistics import benjamini_hochberg, detectable_difference, holm, mcnemar
from stepladder.evaluation.verdict import told, verdict
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


def test_mid_p_and_benjamini_hochberg_are_rules_of_a_comparison(right_wrong):
    rungs = {
        n: [right_wrong(m)] for n, m in {"a": "1" * 20 + "0" * 80, "b": "0" * 20 + "1" * 80, "c": "10" * 50}.items()
    }
    strict = compared({"accuracy": Accuracy()}, rungs, "a", "accuracy", seed=0)
    loose = compared(
        {"accuracy": Accuracy()}, rungs, "a", "accuracy", 0, Rules(mid_p=True, correction="benjamini_hochberg")
    )
    p_values = [mcnemar(80, 20, mid_p=True), mcnemar(40, 10, mid_p=True)]
    found = [cell["difference"]["accuracy"] for cell in loose[1:]]
    assert [each["p"] for each in found] == pytest.approx(p_values)
    assert [each["p_adjusted"] for each in found] == pytest.approx(benjamini_hochberg(p_values))
    assert strict[2]["difference"]["accuracy"]["p"] == mcnemar(40, 10)


def test_what_could_be_detected_counts_the_comparisons_beside_it(right_wrong):
    cells = ladder(right_wrong, one="10" * 50, two="01" * 50, three="1" * 100)
    assert cells[1]["difference"]["accuracy"]["detectable"] == pytest.approx(
        detectable_difference(101 / 102, 100, 0.025)
    )


def test_no_difference_found_is_never_said_alone(right_wrong):
    nothing = ladder(right_wrong, one="10" * 50, two="01" * 50)[1]["difference"]["accuracy"]
    said = told(nothing, "accuracy")
    assert "50 better and 50 worse of 100 questions. No difference found; 0." in said
    assert "No difference found" not in told({**nothing, "p_adjusted": 0.01}, "accuracy")


def test_the_verdict_tells_what_it_rests_on_and_what_would_turn_it(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 130 + "0" * 70, best="0" * 4 + "1" * 126 + "1" * 6 + "0" * 64))
    assert found["undecided"] == ["simple"]
    assert found["rests_on"][0].startswith("simple against best: -0.010 accuracy [")
    assert any(line.startswith("A margin of 0.0") for line in found["would_change"])
    (needed,) = (line for line in found["would_change"] if line.startswith("About "))
    assert 200 < int(needed.split()[1].replace(",", "")) < 20_000
    near = judged(ladder(right_wrong, near="1" * 897 + "0" * 103, best="1" * 900 + "0" * 100))
    assert "then near is no longer shown to be enough" in near["would_change"][-1]
    aimed = judged(ladder(right_wrong, poor="10" * 100, sure="1" * 198 + "0" * 2), target=0.9)
    assert "then poor is enough" in aimed["would_change"][0]
    assert "sure is no longer shown to reach it" in aimed["would_change"][-1]


def test_a_target_asks_for_one_sided_certainty(right_wrong):
    cells = ladder(right_wrong, only="1" * 180 + "0" * 20)
    low, floor = cells[0]["scores"]["accuracy"]["low"], cells[0]["at_least"]["accuracy"]
    between = (low + floor) / 2
    assert judged(cells, target=between)["recommended"] == "only"
    assert judged(cells, target=floor + 0.001)["recommended"] is None


def test_that_no_language_model_is_needed_is_said_where_there_is_one(right_wrong):
    cells = ladder(right_wrong, linear="1" * 900 + "0" * 100, finetune="1" * 897 + "0" * 103)
    assert "No language model is needed: linear asks none." in judged(cells, without_model={"linear"})["reason"]
    assert "No language model" not in judged(cells)["reason"]
    assert "No language model" not in judged(cells, without_model={"linear", "finetune"})["reason"]
    clear = ladder(right_wrong, linear="10" * 100, finetune="1" * 200)
    assert "No language model" not in judged(clear, without_model={"linear"})["reason"]
