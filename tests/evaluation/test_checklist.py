"""Ten points: the evidence that there is, and "not measured" where there is none."""

from dataclasses import replace

import pytest

from stepladder.evaluation.checklist import NOT_MEASURED, Facts, checklist
from stepladder.evaluation.ladder import compared
from stepladder.evaluation.metrics import Accuracy
from stepladder.evaluation.verdict import verdict

FORMAT = "The format is strict, and prompting does not keep it"
FACTS = Facts(400, 40, 4, {"rejected": 3, "overlap": 2}, "choose", None, {})


@pytest.fixture
def study(right_wrong):
    marks = {
        "linear": "1" * 60 + "0" * 40,
        "zero_shot": "10" * 50,
        "rag": "1" * 70 + "0" * 30,
        "finetune": "1" * 96 + "0000",
    }
    rungs = {name: [right_wrong(each)] for name, each in marks.items()}
    cells = compared({"accuracy": Accuracy()}, rungs, "zero_shot", "accuracy", seed=0)
    costs = {name: {"prompt_tokens_per_question": 0 if name == "linear" else 50, "failures": 2} for name in rungs}
    costs["finetune"]["training_tokens"] = 900
    return {
        "cells": cells,
        "verdict": verdict(cells, list(rungs), "accuracy", 0.02),
        "rows": [{"name": name, "costs": costs[name]} for name in rungs],
        "break_even": [{"name": "finetune", "against": "rag", "requests": 500, "low": 400, "high": 700, "until": None}],
    }


def told(study, facts=FACTS):
    return {each["point"]: (each["found"], each["evidence"]) for each in checklist(study, facts)}


def test_there_are_ten_points_and_none_without_a_word(study):
    found = told(study)
    assert len(found) == 10
    assert all(evidence for _, evidence in found.values())
    assert [
        found[point][0] for point in ("Privacy was looked at", "Bias was looked at", "There are means to monitor")
    ] == [NOT_MEASURED] * 3


def test_repetition_is_judged_by_what_is_expected(study):
    assert told(study)["The task repeats"][0] == NOT_MEASURED
    assert told(study, replace(FACTS, requests=1000))["The task repeats"] == (
        "yes",
        "1,000 requests are expected. Paid for by then: finetune against rag: 500 [400, 700].",
    )
    assert told(study, replace(FACTS, requests=100))["The task repeats"][0] == "no"


def test_prompting_and_retrieval_are_judged_by_paired_differences(study):
    found = told(study)
    assert found["Prompting is too inconsistent, long or dear"][0] == "yes"
    assert "2 of its answers unusable" in found["Prompting is too inconsistent, long or dear"][1]
    assert found["Retrieval does not do"][0] == "yes"
    assert "26 worse of 100 questions" in found["Retrieval does not do"][1]
    without = {**study, "rows": [row for row in study["rows"] if row["name"] != "finetune"]}
    assert told(without)["Prompting is too inconsistent, long or dear"][0] == NOT_MEASURED


def test_success_names_what_can_be_detected(study):
    found, evidence = told(study)["Success can be measured"]
    assert found == "yes"
    assert "finetune: 0.960 [" in evidence
    assert "can be detected" in evidence


def test_a_suite_that_was_asked_is_evidence(study):
    figure = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 100}
    found = told(
        study, replace(FACTS, suites={"slices": {"finetune": {"gap": figure}}, "robustness": {"rag": {"drop": figure}}})
    )
    assert found["Bias was looked at"] == ("yes", "slices, finetune: gap 0.100 [0.050, 0.200].")
    assert "drop 0.100" in found["Prompting is too inconsistent, long or dear"][1]


def test_a_forced_format_is_no_measure_of_format(study):
    assert told(study)[FORMAT][0] == NOT_MEASURED
    assert told(study, replace(FACTS, decoding="greedy"))[FORMAT] == (
        "in part",
        "Most unusable answers: 2, by zero_shot.",
    )
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    free = {"rag": {"valid": figure}, "finetune": {"valid": {**figure, "value": 0.99, "low": 0.97, "high": 1.0}}}
    assert told(study, replace(FACTS, suites={"format": free}))[FORMAT] == (
        "yes",
        "Of free answers are valid: rag 0.500 [0.400, 0.600], finetune 0.990 [0.970, 1.000].",
    )


def test_slices_without_a_slice_are_no_look_at_bias(study):
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 100}
    found = told(study, replace(FACTS, suites={"slices": {"rag": {"all": figure}}}))
    assert found["Bias was looked at"][0] == NOT_MEASURED
