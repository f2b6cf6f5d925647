"""The cells of a comparison and the method that the evidence supports."""

from dataclasses import replace

import pytest

from stepladder.errors import ConfigError, DataError
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1
from stepladder.evaluation.statistics.closed_form import (
    benjamini_hochberg,
    detectable_difference,
    holm,
    mcnemar,
    questions_for,
    usable_questions,
)
from stepladder.studies.compared_runs import ComparedRuns, Floor
from stepladder.studies.results import Cell, Rules, TunedDifference
from stepladder.studies.verdict import describe, seeds, tuned_lines, verdict
from stepladder.types import Choice

METRICS = {"accuracy": Accuracy(), "macro_f1": MacroF1()}


def compared(metrics, methods, baseline, main, seed=0, rules=None, floor=None):
    return ComparedRuns(metrics, methods, main, seed, rules).cells(baseline, floor)


def ladder(right_wrong, **marks):
    methods = {name: [right_wrong(each)] for name, each in marks.items()}
    return compared({"accuracy": Accuracy()}, methods, baseline=next(iter(methods)), main="accuracy", seed=0)


def judged(cells, **more):
    return verdict(cells, [cell.name for cell in cells], "accuracy", **{"margin": 0.02, **more})


def test_a_cell_has_differences_to_the_baseline_the_simpler_method_and_the_best(right_wrong):
    low, middle, high = "1" * 20 + "0" * 80, "1" * 60 + "0" * 40, "0" * 5 + "1" * 95
    cells = ladder(right_wrong, low=low, middle=middle, high=high)
    assert [cell.name for cell in cells] == ["low", "middle", "high"]
    assert cells[0].difference is None
    assert cells[0].to_below is None
    assert cells[2].to_best is None
    assert cells[2].difference["accuracy"].value == pytest.approx(0.75)
    assert cells[2].to_below.name == "middle"
    assert cells[2].to_below.difference["accuracy"].value == pytest.approx(0.35)
    assert cells[0].to_best.name == "high"
    assert cells[0].to_best.difference["accuracy"].value == pytest.approx(-0.75)
    p_values = [mcnemar(40, 0), mcnemar(80, 5)]
    assert [cell.difference["accuracy"].p_adjusted for cell in cells[1:]] == pytest.approx(holm(p_values))


def test_methods_with_other_rows_are_refused(right_wrong):
    with pytest.raises(DataError, match="q2"):
        ladder(right_wrong, one="111", two="11")


def test_an_unknown_baseline_or_a_main_metric_that_says_nothing_is_refused(right_wrong, asked):
    with pytest.raises(ConfigError, match="did you mean 'zero_shot'"):
        compared(METRICS, {"zero_shot": [right_wrong("1")]}, "zeroshot", "accuracy", seed=0)
    own = {"zero_shot": [asked(["a"], ["a"], Choice())]}
    assert list(compared(METRICS, own, "zero_shot", "accuracy", seed=0)[0].scores) == ["accuracy"]
    with pytest.raises(ConfigError, match="macro_f1"):
        compared(METRICS, own, "zero_shot", "macro_f1", seed=0)


def test_the_simplest_method_within_the_margin_is_recommended(right_wrong):
    near = "1" * 897 + "0" * 103
    found = judged(ladder(right_wrong, floor="10" * 500, near=near, best="1" * 900 + "0" * 100))
    assert found.recommended == "near"
    assert found.best == "best"
    assert found.undecided == ()
    assert "within 0.02" in found.reason


def test_a_clear_gain_is_climbed_for(right_wrong):
    found = judged(ladder(right_wrong, floor="10" * 100, best="1" * 180 + "0" * 20))
    assert (found.recommended, found.undecided) == ("best", ())
    assert "too few" not in found.reason


def test_too_few_questions_are_reported_instead_of_no_difference(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 13 + "0" * 7, best="1" * 14 + "0" * 6))
    assert found.recommended == "best"
    assert found.undecided == ("simple",)
    assert "20 questions are too few to tell whether simple is good enough" in found.reason


def test_of_equal_methods_the_simplest_is_best(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 20, expensive="1" * 20))
    assert (found.recommended, found.best) == ("simple", "simple")


def test_a_target_is_met_by_the_interval_and_not_by_luck(right_wrong):
    cells = ladder(right_wrong, poor="10" * 100, lucky="1" * 181 + "0" * 19, sure="1" * 198 + "0" * 2)
    found = judged(cells, target=0.9)
    assert (found.recommended, found.undecided) == ("sure", ("lucky",))
    none = judged(cells, target=0.999)
    assert none.recommended is None
    assert none.status == "target_not_reached"
    assert "No method is shown to reach accuracy 0.999" in none.reason


def test_the_order_is_the_ladders_and_not_the_cells(right_wrong):
    cells = ladder(
        right_wrong, expensive="1" * 897 + "0" * 103, best="1" * 900 + "0" * 100, cheap="1" * 898 + "0" * 102
    )
    assert verdict(cells, ["cheap", "expensive", "best"], "accuracy", 0.02).recommended == "cheap"


def test_mid_p_and_benjamini_hochberg_are_rules_of_a_comparison(right_wrong):
    methods = {
        n: [right_wrong(m)] for n, m in {"a": "1" * 20 + "0" * 80, "b": "0" * 20 + "1" * 80, "c": "10" * 50}.items()
    }
    strict = compared({"accuracy": Accuracy()}, methods, "a", "accuracy", seed=0)
    loose = compared(
        {"accuracy": Accuracy()}, methods, "a", "accuracy", 0, Rules(mid_p=True, correction="benjamini_hochberg")
    )
    p_values = [mcnemar(80, 20, mid_p=True), mcnemar(40, 10, mid_p=True)]
    found = [cell.difference["accuracy"] for cell in loose[1:]]
    assert [each.p for each in found] == pytest.approx(p_values)
    assert [each.p_adjusted for each in found] == pytest.approx(benjamini_hochberg(p_values))
    assert strict[2].difference["accuracy"].p == mcnemar(40, 10)


def test_the_detectable_effect_counts_the_number_of_comparisons(right_wrong):
    cells = ladder(right_wrong, one="10" * 50, two="01" * 50, three="1" * 100)
    assert cells[1].difference["accuracy"].detectable == pytest.approx(detectable_difference(101 / 102, 100, 0.025))


def test_no_significant_difference_comes_with_the_minimum_detectable_effect(right_wrong):
    nothing = ladder(right_wrong, one="10" * 50, two="01" * 50)[1].difference["accuracy"]
    said = describe(nothing, "accuracy")
    assert "50 better and 50 worse of 100 questions. No significant difference; minimum detectable effect 0." in said
    assert said.endswith(" (80% power).")
    assert describe(replace(nothing, value=0.1, p_adjusted=0.01), "accuracy").startswith("significantly better, +0.100")
    worse = describe(replace(nothing, value=-0.1, p_adjusted=0.01), "accuracy")
    assert worse.startswith("significantly worse, -0.100")
    assert "No significant difference" not in worse


def test_the_verdict_has_its_evidence_and_what_would_change_it(right_wrong):
    found = judged(ladder(right_wrong, simple="1" * 130 + "0" * 70, best="0" * 4 + "1" * 126 + "1" * 6 + "0" * 64))
    assert found.undecided == ("simple",)
    assert found.rests_on[0].startswith("simple against best: -0.010 accuracy [")
    assert any(line.startswith("With a margin of 0.0") for line in found.would_change)
    (needed,) = (line for line in found.would_change if line.startswith("About "))
    assert 200 < int(needed.split()[1].replace(",", "")) < 20_000
    near = judged(ladder(right_wrong, near="1" * 897 + "0" * 103, best="1" * 900 + "0" * 100))
    assert "near is no longer shown to be good enough" in near.would_change[-1]
    aimed = judged(ladder(right_wrong, poor="10" * 100, sure="1" * 198 + "0" * 2), target=0.9)
    assert "poor is good enough" in aimed.would_change[0]
    assert "sure is no longer shown to reach it" in aimed.would_change[-1]


def test_a_target_asks_for_one_sided_certainty(right_wrong):
    cells = ladder(right_wrong, only="1" * 180 + "0" * 20)
    low, floor = cells[0].scores["accuracy"].low, cells[0].at_least["accuracy"]
    between = (low + floor) / 2
    assert judged(cells, target=between).recommended == "only"
    assert judged(cells, target=floor + 0.001).recommended is None


def test_that_no_language_model_is_needed_is_said_where_there_is_one(right_wrong):
    cells = ladder(right_wrong, linear="1" * 900 + "0" * 100, finetune="1" * 897 + "0" * 103)
    assert "No language model is needed: linear is good enough." in judged(cells, without_model={"linear"}).reason
    assert "No language model" not in judged(cells).reason
    assert "No language model" not in judged(cells, without_model={"linear", "finetune"}).reason
    clear = ladder(right_wrong, linear="10" * 100, finetune="1" * 200)
    assert "No language model" not in judged(clear, without_model={"linear"}).reason


def floored(right_wrong, floor, target=None, margin=0.02, **marks):
    """The verdict where always giving the most frequent answer is right on the questions marked in `floor`."""
    methods = {name: [right_wrong(each)] for name, each in marks.items()}
    answers = Floor("majority", right_wrong(floor))
    cells = compared({"accuracy": Accuracy()}, methods, next(iter(methods)), "accuracy", 0, floor=answers)
    return verdict(cells, list(methods), "accuracy", margin, target, floor="majority")


def test_usable_questions_follow_from_power():
    """By hand for one comparison: 6 one-sided differences are the fewest that McNemar's test rejects for (2 / 2^6 <
    .05). Of 15 questions half differ in 85% of the cases 6 times or more, of 14 in 79%."""
    assert [usable_questions(m) for m in (1, 2, 7, 11)] == [15, 17, 21, 21]
    assert mcnemar(6, 0) < 0.05 < mcnemar(5, 0)
    assert usable_questions(1, difference=0.2) > 2 * usable_questions(1)
    assert questions_for(0.1, 0.2, 50) == 200


@pytest.mark.parametrize("n", [1, 2, 5, 9, 14])
@pytest.mark.parametrize("target", [None, 0.5])
def test_too_few_rows_recommend_nothing(right_wrong, n, target):
    for marks in ("1" * n, "0" * n, ("10" * n)[:n]):
        found = floored(right_wrong, "0" * n, target, zero_shot=marks)
        assert (found.recommended, found.status, found.rows_needed) == (None, "too_few_rows", 15)
        rows = "1 test row." if n == 1 else f"{n} test rows."
        assert found.reason.startswith(f"Too few rows: {rows} At least 15 are needed")
        assert found.best == "zero_shot"


def test_enough_rows_and_a_clear_gain_are_recommended(right_wrong):
    found = floored(right_wrong, "0" * 8 + "1" * 7, linear="1" * 15)
    assert (found.recommended, found.status, found.rows_needed) == ("linear", "recommended", None)
    assert found.rests_on[0].startswith("linear against majority, the most frequent answer: significantly better")


@pytest.mark.parametrize(
    ("zero_shot", "rag"),
    [("0" * 100, "0" * 100), ("10" * 50, "10" * 50), ("1" * 50 + "0" * 50, "10" * 50), ("0" * 100, "0" * 98 + "11")],
)
@pytest.mark.parametrize("target", [None, 0.4, 0.9])
def test_methods_that_do_not_beat_the_most_frequent_answer_are_not_recommended(right_wrong, zero_shot, rag, target):
    found = floored(right_wrong, "01" * 50, target, zero_shot=zero_shot, rag=rag)
    assert (found.recommended, found.status) == (None, "no_method_works")
    assert found.reason.startswith("No method works: no method is significantly better in accuracy than always giving")
    assert found.rows_needed > 100
    assert f"about {found.rows_needed:,} test rows would show one of 0.1" in found.reason


def test_a_lead_that_is_not_significant_asks_for_more_rows(right_wrong):
    found = floored(right_wrong, "01" * 20 + "0" * 4, zero_shot="01" * 20 + "1" * 4)
    assert (found.recommended, found.status) == (None, "too_few_rows")
    assert "zero_shot is ahead by 0.091 on 44 test rows" in found.reason
    assert 50 < found.rows_needed < 200


def test_many_rows_without_a_lead_need_no_more(right_wrong):
    found = floored(right_wrong, "01" * 2000, zero_shot="01" * 2000)
    assert (found.status, found.rows_needed) == ("no_method_works", None)
    assert "The 4,000 test rows would show an advantage of 0.0" in found.reason


def test_the_most_frequent_answer_itself_is_never_recommended(right_wrong):
    marks = {"majority": "1" * 980 + "0" * 20, "linear": "1" * 990 + "0" * 10}
    found = floored(right_wrong, marks["majority"], **marks)
    assert found.recommended == "linear"  # within the margin, majority is, too
    assert "majority" not in found.undecided
    assert not any("majority is good enough" in line for line in found.would_change)
    assert floored(right_wrong, marks["majority"], target=0.5, **marks).recommended == "linear"
    alone = floored(right_wrong, "1" * 100, majority="1" * 100)
    assert (alone.recommended, alone.status) == (None, "no_method_works")


def test_a_simpler_method_that_is_not_shown_to_work_is_undecided(right_wrong):
    floor, shaky = "1" * 100 + "0" * 100, "0" * 50 + "1" * 50 + "1" * 67 + "0" * 33
    found = floored(right_wrong, floor, margin=0.3, shaky=shaky, sure="1" * 120 + "0" * 80)
    assert (found.recommended, found.undecided) == ("sure", ("shaky",))


def test_groups_count_and_not_their_rows(right_wrong):
    groups = [f"g{i // 20}" for i in range(100)]
    methods = {"linear": [right_wrong("1" * 100, groups=groups)]}
    floor = Floor("majority", right_wrong("0" * 100, groups=groups))
    cells = compared({"accuracy": Accuracy()}, methods, "linear", "accuracy", 0, floor=floor)
    found = verdict(cells, ["linear"], "accuracy", 0.02, floor="majority")
    assert found.status == "too_few_rows"
    assert "100 test rows in 5 independent groups" in found.reason


def test_text_and_json_tasks_have_the_same_floor(asked):
    answers = [f"answer {i}" for i in range(20)]
    floor = Floor("majority", asked(["answer 0"] * 20, answers))
    for said, wanted in (
        (answers, "recommended"),
        (["nonsense"] * 20, "no_method_works"),
        ([None] * 20, "no_method_works"),
    ):
        cells = compared({"accuracy": Accuracy()}, {"rag": [asked(said, answers)]}, "rag", "accuracy", 0, floor=floor)
        assert verdict(cells, ["rag"], "accuracy", 0.02, floor="majority").status == wanted


def test_several_seeds_are_judged_together(right_wrong):
    methods = {"finetune": [right_wrong("1" * 40), right_wrong("1" * 38 + "00"), right_wrong("1" * 39 + "0")]}
    cells = compared(
        {"accuracy": Accuracy()}, methods, "finetune", "accuracy", 0, floor=Floor("m", right_wrong("01" * 20))
    )
    assert verdict(cells, ["finetune"], "accuracy", 0.02, floor="m").recommended == "finetune"


def test_the_note_on_seeds_follows_the_seeds_of_each_method():
    cells = [
        Cell("linear", {}, {}, 1, seeds=(0,), seeded=False),
        Cell("few_shot", {}, {}, 1, seeds=(0,), seeded=True),
        Cell("finetune", {}, {}, 1, seeds=(0, 1, 2), seeded=True),
        Cell("finetune_rag", {}, {}, 1, seeds=(0, 1, 2), seeded=True),
    ]
    assert list(seeds(cells)) == [
        "finetune and finetune_rag: mean of 3 seeds; their intervals include the variation between seeds.",
        "few_shot: one seed; its interval does not include the variation between seeds.",
    ]
    assert list(seeds(cells[:1])) == []
    assert list(seeds([Cell("finetune", {}, {}, 1)])) == []


def test_whether_the_tuned_method_is_better_is_said(right_wrong):
    methods = {
        "linear": [right_wrong("1" * 100)],
        "rag": [right_wrong("10" * 50)],
        "finetune": [right_wrong("01" * 50)],
    }
    ladder = ComparedRuns({"accuracy": Accuracy()}, methods, "accuracy", 0)
    found = [
        TunedDifference("finetune", other, (role,), ladder.differences([("finetune", other)])["finetune", other])
        for other, role in (("rag", "best prompted"), ("linear", "recommended"))
    ]
    lines = tuned_lines(found, ladder.cells("rag"), "accuracy", "linear")
    assert lines[0].startswith("finetune against rag, the best prompted method: +0.000 accuracy [")
    assert "No significant difference" in lines[0]
    assert lines[1].startswith("finetune against linear, the recommended method: significantly worse, -0.500 accuracy")
    assert tuned_lines(found[:1], ladder.cells("rag"), "accuracy", "finetune")[0].startswith(
        "finetune is the recommended method. finetune against rag"
    )
    assert tuned_lines([], ladder.cells("rag"), "accuracy", None) == []


def test_the_first_method_is_not_called_the_best_where_it_is_not(right_wrong):
    found = judged(ladder(right_wrong, cheap="1" * 897 + "0" * 103, best="1" * 900 + "0" * 100))
    assert found.recommended == "cheap"
    assert found.reason.startswith("cheap is the simplest method shown to be within 0.02 accuracy of the best, best (")
