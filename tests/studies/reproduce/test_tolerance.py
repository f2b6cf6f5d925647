"""How near is near enough: on one machine equal, on another within the stated band."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stepladder.evaluation.statistics.estimates import Measured
from stepladder.studies.reproduce.tolerance import SHARE, tolerance

WAS = Measured(0.8, 0.7, 0.9, 1000)


@pytest.mark.parametrize(
    ("same_machine", "tuned", "value", "near"),
    [
        (True, True, 0.8, True),
        (True, True, 0.8 + 1e-12, False),
        (False, False, 0.8 + 0.9 * SHARE, True),
        (False, False, 0.8 - 1.1 * SHARE, False),
        (False, True, 0.71, True),
        (False, True, 0.69, False),
    ],
)
def test_a_metric_is_held_to_its_class(same_machine: bool, tuned: bool, value: float, near: bool) -> None:
    assert tolerance(same_machine, tuned).metric(WAS, replace(WAS, value=value)) is near


def test_one_row_of_few_may_turn_and_another_count_never_does() -> None:
    close = tolerance(same_machine=False, tuned=False)
    few = Measured(0.5, 0.2, 0.8, 10)
    assert close.metric(few, replace(few, value=0.6))
    assert not close.metric(few, replace(few, value=0.71))
    assert not close.metric(few, replace(few, n=9))
    assert not close.metric(few, None)


def test_a_metric_of_a_wide_scale_moves_by_its_scale() -> None:
    wide = Measured(50.0, 40.0, 60.0, 1000)
    close = tolerance(same_machine=False, tuned=False)
    assert close.metric(wide, replace(wide, value=50.9))
    assert not close.metric(wide, replace(wide, value=51.1))


def test_rows_are_held_to_the_same() -> None:
    assert not tolerance(True, False).rows(1, 1000)
    close = tolerance(False, False)
    assert close.rows(1, 10)
    assert close.rows(20, 1000)
    assert not close.rows(21, 1000)
    assert tolerance(False, True).rows(900, 1000)
