"""Predictions and examples are put together by id, or not at all."""

from dataclasses import replace

import pytest

from stepladder.errors import DataError
from stepladder.evaluation.answers import Answers, check_same_questions


def test_predictions_are_put_in_the_order_of_the_examples(asked):
    straight = asked(["x", "y", "z"], ["x", "y", "z"])
    shuffled = Answers(straight.request, straight.predictions[::-1], straight.examples)
    assert [p.text for p in shuffled.predictions] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p[1:], "only in examples: 'q0'"),
        (lambda p: (*p[1:], replace(p[0], id="stranger")), "only in predictions: 'stranger'"),
        (lambda p: (p[0], *p), "more than once in predictions: 'q0'"),
    ],
)
def test_missing_strange_and_double_predictions_are_refused_by_name(asked, spoil, said):
    good = asked(["x", "y"], ["x", "y"])
    with pytest.raises(DataError, match=said):
        Answers(good.request, spoil(good.predictions), good.examples)


def test_other_rows_are_refused_and_the_difference_named(asked):
    ours, theirs = asked(["x", "y"], ["x", "y"]), asked(["x", "y"], ["x", "y"], ids=["q0", "q7"])
    with pytest.raises(DataError, match=r"only in one run: 'q1'; only in the other: 'q7'"):
        check_same_questions(ours, theirs)


def test_the_same_ids_with_other_answers_are_refused(asked):
    with pytest.raises(DataError, match="'q1' differs in its answers"):
        check_same_questions(asked(["x", "y"], ["x", "y"]), asked(["x", "y"], ["x", "z"]))


def test_clusters_number_the_groups_and_leave_single_questions_alone(asked):
    texts = ["x"] * 5
    assert asked(texts, texts).clusters() is None
    assert asked(texts, texts, groups=["a", "b", "c", "d", "e"]).clusters() is None
    assert asked(texts, texts, groups=["a", None, "b", "a", None]).clusters().tolist() == [0, 2, 1, 0, 3]
