"""The checklist: the evidence that there is, and "not measured" where there is none."""

from dataclasses import replace

import pytest
from built import comparison, run

from stepladder.dataset.accounts import RowCounts
from stepladder.evaluation.metrics.choice import Accuracy
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.reports.checklist import NOT_MEASURED, checklist
from stepladder.runs.costs import Costs
from stepladder.studies.compared_runs import ComparedRuns
from stepladder.studies.evidence import DataFacts
from stepladder.studies.results import BreakEven, TunedDifference
from stepladder.studies.verdict import verdict

FORMAT = "The format is strict, and prompting does not keep it"
FACTS = DataFacts(400, 40, 4, RowCounts(443, 440, rejected=3, overlap=2), "choose", None, {})
BREAK_EVEN = BreakEven("finetune", "rag", 90.0, 0.1, 0.05, 0.2, 500, 400, 700, until=None, tokens_saved=12.0)


@pytest.fixture
def study(right_wrong):
    marks = {
        "linear": "1" * 60 + "0" * 40,
        "zero_shot": "10" * 50,
        "rag": "1" * 70 + "0" * 30,
        "finetune": "1" * 96 + "0000",
    }
    rungs = {name: [right_wrong(each)] for name, each in marks.items()}
    cells = ComparedRuns({"accuracy": Accuracy()}, rungs, "accuracy", seed=0).cells("zero_shot")
    costs = {
        name: Costs(
            prompt_tokens_per_question=0 if name == "linear" else 50,
            failures=2,
            training_tokens=900 if name == "finetune" else 0,
        )
        for name in rungs
    }
    ladder = ComparedRuns({"accuracy": Accuracy()}, rungs, "accuracy", 0)
    gaps = ladder.differences([("finetune", "zero_shot"), ("finetune", "rag")])
    return comparison(
        cells,
        verdict(cells, list(rungs), "accuracy", 0.02),
        [run(name, costs[name]) for name in rungs],
        tuned_differences=tuple(TunedDifference("finetune", name, (), found) for (_, name), found in gaps.items()),
        break_even=(BREAK_EVEN,),
    )


def told(study, facts=FACTS):
    return {each.point: (each.found, each.evidence) for each in checklist(study, facts)}


def test_every_point_has_evidence(study):
    found = told(study)
    assert len(found) == 11
    assert all(evidence for _, evidence in found.values())
    assert [found[point][0] for point in ("Privacy was checked", "Bias was checked", "Quality can be monitored")] == [
        NOT_MEASURED
    ] * 3


def test_repetition_is_judged_by_what_is_expected(study):
    assert told(study)["The task repeats"][0] == NOT_MEASURED
    assert told(study, replace(FACTS, requests=1000))["The task repeats"] == (
        "yes",
        "1,000 requests are expected, more than the 540 labelled rows of this study.",
    )
    assert told(study, replace(FACTS, requests=100))["The task repeats"][0] == "no"
    for never in ((), (replace(BREAK_EVEN, requests=None, low=None, high=None),)):
        assert told(replace(study, break_even=never), replace(FACTS, requests=1e5))["The task repeats"][0] == "yes"


def test_break_even_is_a_point_of_its_own(study):
    point = "Tuning breaks even"
    assert told(study)[point][0] == NOT_MEASURED
    assert "finetune against rag: 500 [400, 700]. Set comparison.requests=N" in told(study)[point][1]
    assert told(study, replace(FACTS, requests=1000))[point] == (
        "yes",
        "1,000 requests are expected. Break-even: finetune against rag: 500 [400, 700].",
    )
    assert told(study, replace(FACTS, requests=499))[point][0] == "no"
    assert told(replace(study, break_even=()))[point] == (
        NOT_MEASURED,
        "There is no tuned method beside a prompted one.",
    )
    worse = replace(study, break_even=(), no_break_even=(("finetune", "rag"),))
    assert told(worse)[point] == ("no", "Every tuned method is significantly worse than the prompted ones.")


def test_prompting_and_retrieval_are_judged_by_paired_differences(study):
    found = told(study)
    assert found["Prompting is too inconsistent, long or expensive"][0] == "yes"
    assert "2 unusable answers of rag" in found["Prompting is too inconsistent, long or expensive"][1]
    assert found["Retrieval is not sufficient"][0] == "yes"
    assert "26 worse of 100 questions" in found["Retrieval is not sufficient"][1]
    untuned = replace(
        study.rows[-1], costs=replace(study.rows[-1].costs, training_tokens=0, prompt_tokens_per_question=0)
    )
    without = replace(study, rows=(*study.rows[:-1], untuned))
    assert told(without)["Prompting is too inconsistent, long or expensive"][0] == NOT_MEASURED


def test_success_names_what_can_be_detected(study):
    found, evidence = told(study)["Success can be measured"]
    assert found == "yes"
    assert "finetune: 0.960 [" in evidence
    assert "Minimum detectable effect: 0." in evidence
    few = replace(study, verdict=replace(study.verdict, status="too_few_rows", rows_needed=17))
    assert told(few)["Success can be measured"][0] == "no"
    assert "about 17 are needed" in told(few)["Success can be measured"][1]


def test_the_scores_of_a_suite_are_evidence(study):
    figure = Measured(0.1, 0.05, 0.2, 100)
    found = told(
        study, replace(FACTS, suites={"slices": {"finetune": {"gap": figure}}, "robustness": {"rag": {"drop": figure}}})
    )
    assert found["Bias was checked"] == ("yes", "slices, finetune: gap 0.100 [0.050, 0.200].")
    assert "drop 0.100" in found["Prompting is too inconsistent, long or expensive"][1]


def test_a_forced_format_is_no_measure_of_format(study):
    assert told(study)[FORMAT][0] == NOT_MEASURED
    assert told(study, replace(FACTS, decoding="greedy"))[FORMAT] == (
        "in part",
        "Most unusable answers: 2, by zero_shot. Form was not measured.",
    )
    figure = Measured(0.5, 0.4, 0.6, 100)
    free = {"rag": {"valid": figure}, "finetune": {"valid": Measured(0.99, 0.97, 1.0, 100)}}
    assert told(study, replace(FACTS, suites={"format": free}))[FORMAT] == (
        "yes",
        "Valid free-form answers: rag 50.0% [40.0%, 60.0%], finetune 99.0% [97.0%, 100.0%].",
    )


def test_slices_without_a_slice_are_no_look_at_bias(study):
    figure = Measured(0.5, 0.4, 0.6, 100)
    found = told(study, replace(FACTS, suites={"slices": {"rag": {"all": figure}}}))
    assert found["Bias was checked"][0] == NOT_MEASURED


def test_only_suites_that_can_run_are_advised(study):
    said = " ".join(evidence for _, evidence in told(study).values())
    assert "evaluation=" not in said
    advice = {"slices": "evaluation=[slices]", "calibration": "evaluation=[calibration] decoding.probabilities=all"}
    found = told(study, replace(FACTS, advice=advice))
    assert found["Bias was checked"][1].endswith(": add evaluation=[slices].")
    assert "add evaluation=[calibration] decoding.probabilities=all." in found["Quality can be monitored"][1]
