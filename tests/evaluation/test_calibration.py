"""Calibration: known miscalibration comes out right, agrees with scikit-learn, and the temperature sees no test row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import brier_score_loss, log_loss

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalInputs
from stepladder.evaluation.suite import Suite
from stepladder.evaluation.suites import confidence as c
from stepladder.evaluation.suites.calibration import Calibration
from stepladder.evaluation.suites.confidence import calibration_error
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task

TASK = Task("Say.", Choice(("yes", "no")))
TRUE_SHARES, TOO_SURE = (0.6, 0.7, 0.8, 0.9), 2.5


def answers(rows: Sequence[tuple[dict[str, float] | None, str]], name: str = "main", group: Any = None) -> Answers:
    """rows: probabilities (None for a failure) and the label that counts."""
    examples = tuple(
        Example(Question(f"{name}{i}", f"question {i}", group=group(i) if group else None), (label,))
        for i, (_, label) in enumerate(rows)
    )
    predictions = tuple(
        Prediction(e.question.id, max(p, key=lambda label: p[label]) if p else "", p, failure=None if p else "too long")
        for e, (p, _) in zip(examples, rows, strict=True)
    )
    request = EvalRequest(name, TASK, tuple(e.question for e in examples), Decoding("choose"))
    return Answers(request, predictions, examples)


def too_sure(times: int = 1, temperature: float = TOO_SURE) -> list[tuple[dict[str, float] | None, str]]:
    """Rows whose answers are right in exactly TRUE_SHARES of the cases, said with shares raised to `temperature`."""
    rows: list[tuple[dict[str, float] | None, str]] = []
    for share in TRUE_SHARES:
        said = share**temperature / (share**temperature + (1 - share) ** temperature)
        right = round(10 * share) * times
        rows += [({"yes": said, "no": 1 - said}, "yes" if i < right else "no") for i in range(10 * times)]
    return rows


SUITE = Calibration(bins=4)


def test_known_miscalibration_comes_out_to_three_decimals() -> None:
    scores = SUITE.score({"main": answers(too_sure()), "validation": answers(too_sure(), "v")}, seed=0)
    said = [s**TOO_SURE / (s**TOO_SURE + (1 - s) ** TOO_SURE) for s in TRUE_SHARES]
    gap = float(np.mean([abs(a - b) for a, b in zip(said, TRUE_SHARES, strict=True)]))
    assert scores.metrics["ece"].value == pytest.approx(gap, abs=1e-9)
    assert scores.details["temperature"] == pytest.approx(TOO_SURE, abs=5e-4)
    assert scores.metrics["ece_after"].value == pytest.approx(0, abs=5e-4)
    entropy = -np.mean([s * np.log(s) + (1 - s) * np.log(1 - s) for s in TRUE_SHARES])
    assert scores.metrics["nll_after"].value == pytest.approx(entropy, abs=5e-4)
    assert scores.metrics["brier_after"].value == pytest.approx(
        2 * np.mean([s * (1 - s) for s in TRUE_SHARES]), abs=5e-4
    )
    assert scores.metrics["ece"].low <= gap <= scores.metrics["ece"].high


def test_brier_and_likelihood_are_scikit_learns() -> None:
    generator = np.random.default_rng(3)
    labels = ("a", "b", "c")
    shares = generator.dirichlet([0.4, 1, 2], size=200)
    true = [labels[i] for i in generator.integers(3, size=200)]
    examples = tuple(Example(Question(str(i), "q"), (label,)) for i, label in enumerate(true))
    predictions = [
        Prediction(str(i), labels[int(row.argmax())], dict(zip(labels, row.tolist(), strict=True)))
        for i, row in enumerate(shares)
    ]
    known = c.probabilities(predictions, examples)
    assert known.nll().mean() == pytest.approx(log_loss(true, shares, labels=labels), abs=1e-9)
    theirs = brier_score_loss(true, shares, labels=labels, scale_by_half=False)
    assert known.brier().mean() == pytest.approx(theirs, abs=1e-9)
    tempered = known.at(2.0)
    assert np.allclose(tempered, np.sqrt(shares) / np.sqrt(shares).sum(axis=1, keepdims=True))


def test_the_temperature_and_the_threshold_see_validation_rows_alone() -> None:
    validation = answers(too_sure(), "v")
    plain = SUITE.score({"main": answers(too_sure()), "validation": validation}, seed=0)
    spoilt = [(p, "no" if label == "yes" else "yes") for p, label in too_sure()]
    other = SUITE.score({"main": answers(spoilt), "validation": validation}, seed=0)
    assert other.details["temperature"] == plain.details["temperature"]
    assert other.details["threshold"] == plain.details["threshold"]
    assert other.metrics["ece_after"] != plain.metrics["ece_after"]
    changed = SUITE.score({"main": answers(too_sure()), "validation": answers(too_sure(1, 1.5), "v")}, seed=0)
    assert changed.details["temperature"] == pytest.approx(1.5, abs=5e-4)


def test_requests_are_the_plain_answers_and_the_validation_rows() -> None:
    main, held = answers(too_sure()), answers(too_sure(), "v")
    inputs = EvalInputs(main.request, main.examples, held.examples)
    assert isinstance(SUITE, Suite)
    requests = {batch.request.name: batch for batch in SUITE.requests(inputs)}
    assert requests["main"].request == main.request
    assert requests["validation"].examples == held.examples
    best = replace(inputs, main=replace(main.request, decoding=Decoding("choose", probabilities="best")))
    with pytest.raises(ConfigError, match="no probabilities of the other labels"):
        SUITE.requests(best)
    with pytest.raises(ConfigError, match="mode=greedy gives no probabilities"):
        SUITE.requests(replace(inputs, main=replace(main.request, decoding=Decoding("greedy"))))


@pytest.mark.parametrize("too_much", [0.0, 0.3])
def test_the_error_s_interval_holds_the_truth_though_noise_moves_the_error_itself(too_much: float) -> None:
    generator = np.random.default_rng(1)

    def drawn(n: int) -> tuple[np.ndarray, np.ndarray]:
        said = 0.5 + generator.beta(5, 2, n) / 2
        return said, (generator.random(n) < said - too_much * (said - 0.5)).astype(float)

    truth = c.ece(*drawn(300_000), 10)
    rounds = 12
    found = [calibration_error(*drawn(300), 10, None, seed) for seed in range(rounds)]
    held = sum(each.low <= truth <= each.high for each in found)
    assert held >= binom.ppf(0.001, rounds, 0.95)  # an interval of 95% holds it less often once in a thousand seeds
    assert np.mean([each.value for each in found]) > truth
    assert all(0 <= each.low <= each.value <= each.high <= 1 for each in found)
    certain = calibration_error(np.array([1.0]), np.array([1.0]), 10, None, 0)
    assert (certain.value, certain.low, certain.high) == (0, 0, 1)


def test_without_validation_rows_there_is_no_temperature_and_the_reason_is_given() -> None:
    scores = SUITE.score({"main": answers(too_sure())}, seed=0)
    assert not [name for name in scores.metrics if name.endswith("_after") or name.startswith("selected")]
    assert "no validation rows" in scores.details["left_out"]["temperature"]


def test_failures_count_as_wrong_and_least_sure_and_never_vanish() -> None:
    rows = too_sure()
    scores = SUITE.score({"main": answers([*rows, *[(None, "yes")] * 40])}, seed=0)
    whole = SUITE.score({"main": answers(rows)}, seed=0)
    assert scores.metrics["ece"].value == whole.metrics["ece"].value
    assert (scores.metrics["ece"].n, scores.metrics["aurc"].n) == (40, 80)
    assert scores.metrics["aurc"].value > whole.metrics["aurc"].value
    assert scores.details["without_probabilities"] == 40
    assert [line.value for line in scores.per_question][-1] is None
    nothing = SUITE.score({"main": answers([(None, "yes")] * 3), "validation": answers([(None, "yes")], "v")}, seed=0)
    assert nothing.metrics == {}
    assert nothing.details["left_out"]


@pytest.mark.parametrize("rows", [[({"yes": 1.0, "no": 0.0}, "no")], [({"yes": 0.5, "no": 0.5}, "yes")] * 7])
def test_certainty_ties_and_a_single_row_give_finite_figures(rows: list[Any]) -> None:
    scores = Calibration().score({"main": answers(rows), "validation": answers(rows, "v")}, seed=0)
    for figure in scores.metrics.values():
        assert np.isfinite([figure.value, figure.low, figure.high]).all()
        assert figure.low <= figure.value <= figure.high


def test_rows_that_are_equally_sure_have_no_order() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.2])
    for right in ([1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 1, 0]):
        values = np.array(right, dtype=float)
        assert c.aurc(confidence, values) == pytest.approx((1 / 3 * 3 + 1 / 2) / 4)
        assert c.ece(confidence, values, 4) == pytest.approx((3 * (0.9 - 2 / 3) + 0.2) / 4)
        assert c.reach(confidence, values, 0.6) == (0.75, 0.9)
        assert c.reach(confidence, values, 0.9) == (0.0, np.inf)


def test_the_surest_errors_are_listed_first_and_grouped_rows_widen_the_interval() -> None:
    rows = too_sure(5)
    scores = Calibration(errors=3).score({"main": answers(rows)}, seed=0)
    errors = scores.tables[-1]
    assert (errors.title, len(errors.rows)) == ("Confident errors", 3)
    assert errors.rows[0][-1] == max(max(p.values()) for p, _ in rows if p)
    grouped = SUITE.score({"main": answers(rows, group=lambda i: str(i // 50))}, seed=0).metrics["brier"]
    alone = SUITE.score({"main": answers(rows)}, seed=0).metrics["brier"]
    assert grouped.high - grouped.low > alone.high - alone.low


def test_a_few_rows_are_warned_of_and_bad_settings_refused() -> None:
    assert SUITE.score({"main": answers(too_sure())}, seed=0).details["warnings"]
    assert not SUITE.score({"main": answers(too_sure(10))}, seed=0).details["warnings"]
    with pytest.raises(ConfigError, match="3 faults"):
        Calibration(bins=1, accuracy=0, errors=-1)
