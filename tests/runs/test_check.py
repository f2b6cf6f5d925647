"""What so many questions can show, before anything is computed."""

import json

import pytest

from stepladder.cli.entry import main
from stepladder.evaluation.statistics.closed_form import detectable_difference
from stepladder.runs.check import detectable
from stepladder.types import Example, Question


def examples(*groups):
    return [Example(Question(f"q{i}", "", group=group), ("yes",)) for i, group in enumerate(groups)]


def test_rows_alone_are_counted_one_by_one():
    found = detectable(examples(*[None] * 400))
    assert found["grouped"] is None
    assert found["independent"]["0.2"] == pytest.approx(detectable_difference(0.2, 400), abs=1e-4)


def test_groups_leave_fewer_independent_questions():
    found = detectable(examples(*(f"g{i // 10}" for i in range(400))))
    assert found["grouped"]["0.3"] == pytest.approx(detectable_difference(0.3, 40), abs=1e-4)
    assert found["independent"]["0.3"] < found["grouped"]["0.3"]
    mixed = detectable(examples(*["big"] * 50, *[None] * 50))
    assert mixed["grouped"]["0.3"] is None  # 100^2 / (50^2 + 50) = 3.9 questions show nothing of that size


def test_a_family_of_comparisons_asks_for_more():
    one, many = detectable(examples(*[None] * 400)), detectable(examples(*[None] * 400), comparisons=7)
    assert many["independent"]["0.1"] > one["independent"]["0.1"]
    assert detectable([])["independent"] is None


def test_check_prints_it_and_computes_nothing(capsys, tmp_path):
    assert main(["check", "experiment=first_look", "--outputs", str(tmp_path), "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)["detectable"]
    assert (found["questions"], found["comparisons"]) == (35, 10)
    assert found["independent"]["0.05"] is None
    assert "minimum detectable accuracy difference with 35 questions (80% power, Holm over 10 comparisons):" in told.err
    assert "at 5%" not in told.err
    assert not list(tmp_path.iterdir())
