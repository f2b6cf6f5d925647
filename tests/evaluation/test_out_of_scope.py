"""Out of scope: the area is scikit-learn's, the threshold is taken from validation rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalInputs
from stepladder.evaluation.suite import Suite
from stepladder.evaluation.suites.out_of_scope import OutOfScope, auroc, threshold_of
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task

TASK = Task("Say.", Choice(("yes", "no")))


def answers(name: str, confidences: Sequence[float | None], right: Sequence[bool] | None = None) -> Answers:
    """A confidence None is a failure."""
    right = right or [True] * len(confidences)
    examples = tuple(
        Example(Question(f"{name}{i}", "q"), () if name == "out_of_scope" else ("yes" if good else "no",))
        for i, good in enumerate(right)
    )
    predictions = tuple(
        Prediction(
            e.question.id, "yes", None if c is None else {"yes": c, "no": 1 - c}, failure="x" if c is None else None
        )
        for e, c in zip(examples, confidences, strict=True)
    )
    request = EvalRequest(name, TASK, tuple(e.question for e in examples), Decoding("choose"))
    return Answers(request, predictions, examples)


def all_of(*parts: Answers) -> dict[str, Answers]:
    return {part.request.name: part for part in parts}


def test_the_area_is_scikit_learns_with_ties() -> None:
    generator = np.random.default_rng(0)
    inside, outside = generator.integers(5, 11, 80) / 10, generator.integers(3, 10, 50) / 10
    known = np.repeat([1, 0], [80, 50])
    ours = auroc(np.concatenate([inside, outside]), known.astype(float))
    assert ours == pytest.approx(roc_auc_score(known, np.concatenate([inside, outside])))
    assert np.isnan(auroc(np.array([0.5]), np.array([1.0])))
    parts = all_of(answers("main", [0.9] * 5), answers("out_of_scope", [0.6] * 5))
    figure = OutOfScope().score(parts, seed=0).metrics["auroc"]
    assert figure.value == 1
    assert 0 < figure.low < 1


def test_the_threshold_lets_so_many_of_the_validation_rows_pass_and_sees_no_other() -> None:
    assert threshold_of(np.arange(1, 21) / 20, 0.95) == 0.1
    assert threshold_of(np.array([0.9, 0.9, 0.9, 0.2]), 0.75) == 0.9
    assert threshold_of(np.array([0.4]), 0.5) == 0.4
    held = answers("validation", [0.9] * 19 + [0.6])
    first = all_of(answers("main", [0.95, 0.7, 0.95, 0.95]), answers("out_of_scope", [0.85, 0.95, None]), held)
    other = all_of(answers("main", [0.51] * 4), answers("out_of_scope", [0.99]), held)
    scores, again = (OutOfScope().score(parts, seed=0) for parts in (first, other))
    assert scores.details["threshold"] == again.details["threshold"] == 0.9
    assert scores.metrics["recall"].value == pytest.approx(2 / 3)
    assert scores.metrics["in_scope_kept"].value == 0.75
    assert scores.metrics["in_scope_accuracy"].value == 1
    assert scores.metrics["in_scope_accuracy_with_rejection"].value == 0.75
    assert scores.metrics["accuracy_of_kept"].n == 3
    assert "accuracy_of_kept" not in again.metrics
    assert scores.tables[-1].rows[0][0] == "out_of_scope1"


def test_requests_are_refused_without_out_of_scope_questions_or_probabilities() -> None:
    main, held = answers("main", [0.9]), answers("validation", [0.8])
    given = EvalInputs(main.request, main.examples, held.examples, (Question("new", "What?"),))
    assert isinstance(OutOfScope(), Suite)
    assert [a.request.name for a in OutOfScope().requests(given)] == ["main", "out_of_scope", "validation"]
    best = replace(given, main=replace(main.request, decoding=Decoding("choose", probabilities="best")))
    assert len(OutOfScope().requests(best)) == 3
    with pytest.raises(ConfigError, match="no rows that belong to no label"):
        OutOfScope().requests(replace(given, out_of_scope=()))
    with pytest.raises(ConfigError, match="mode=greedy"):
        OutOfScope().requests(replace(given, main=replace(main.request, decoding=Decoding("greedy"))))
    searched = replace(given, rows="validation", validation=(), out_of_scope=())
    assert [a.request.name for a in OutOfScope().requests(searched)] == ["main"]
    alone = OutOfScope().score(all_of(main), seed=0)
    assert list(alone.metrics) == ["in_scope_accuracy"]
    assert alone.details["left_out"]
    with pytest.raises(ConfigError, match="2 faults"):
        OutOfScope(keep=0, errors=-1)


@pytest.mark.parametrize("confidences", [[None], [0.5], [None] * 4])
def test_failures_and_single_rows_give_finite_figures(confidences: list[float | None]) -> None:
    parts = all_of(*(answers(name, confidences) for name in ("main", "out_of_scope", "validation")))
    for given in (parts, {k: v for k, v in parts.items() if k != "validation"}):
        for figure in OutOfScope().score(given, seed=0).metrics.values():
            assert np.isfinite([figure.value, figure.low, figure.high]).all()
