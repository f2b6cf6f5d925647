"""The learning curve: where tuning overtakes the best prompt, draw by draw."""

from __future__ import annotations

import pytest

from stepladder.studies.learning_curve import LearningCurve, Point
from stepladder.studies.results import Overtaking

SIZES = (32, 64, 128)
TUNED = {0: (0.4, 0.7, 0.9), 1: (0.6, 0.5, 0.8), 2: (0.1, 0.2, 0.3)}
POINTS = [
    Point("zero_shot", 0.5, prompt=True),
    *(Point("few_shot", value, rows, None, prompt=True) for rows, value in zip(SIZES, (0.3, 0.6, 0.7), strict=True)),
    *(
        Point("finetune", value, rows, draw, tuned=True)
        for draw, values in TUNED.items()
        for rows, value in zip(SIZES, values, strict=True)
    ),
    Point("linear", 0.99, 32, 0),
]


def test_a_method_overtakes_where_it_stays_at_least_as_good_as_the_best_prompt() -> None:
    curve = LearningCurve(POINTS)
    assert [curve.overtakes("finetune", draw) for draw in (0, 1, 2)] == [64, 128, None]
    told = curve.result.overtakes["finetune"]
    assert told.by_draw == {"0": 64, "1": 128, "2": None}
    assert told.mean == 96
    assert told.spread == pytest.approx(45.25, abs=0.01)
    assert told.never == 1
    assert list(curve.result.overtakes) == ["finetune"]


def test_a_method_that_learns_from_no_rows_is_a_level_line() -> None:
    lines, table, overtaking = LearningCurve(POINTS).drawings("accuracy")
    assert lines.lines["zero_shot"] == [(32.0, 0.5), (64.0, 0.5), (128.0, 0.5)]
    assert lines.lines["finetune"][0] == (32.0, pytest.approx(11 / 30))
    assert ["few_shot", 64, 0.6, 0.0, 0.6, 0.6, 3] in table.rows
    assert overtaking.rows[0][:2] == ["finetune", "64, 128, never"]


def test_one_draw_and_no_prompt_are_reported_as_such() -> None:
    alone = LearningCurve([Point("finetune", 0.9, 32, 0, tuned=True), Point("zero_shot", 0.9, prompt=True)])
    assert alone.result.overtakes["finetune"] == Overtaking(by_draw={"0": 32}, mean=32, spread=None, never=0)
    bare = LearningCurve([Point("finetune", 0.9, 32, 0, tuned=True), Point("linear", 0.1, 32, 0)])
    assert bare.result.overtakes["finetune"].never == 1
