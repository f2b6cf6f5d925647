"""Stored scores of questions give the numbers that the metrics compute from the predictions, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from stepladder.cli.entry import main
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1, Mean, Metric, numbers_of
from stepladder.evaluation.metrics.json_fields import FieldF1, FieldPrecision, JsonExactMatch, ValidJson
from stepladder.evaluation.metrics.text import RougeL, TokenF1
from stepladder.evaluation.suite import MetricSuite
from stepladder.runs.question_scores import PER_QUESTION, stored_statistics, write_question_scores
from stepladder.studies import answered
from stepladder.types import Answer, Choice, Json, Text

CHOICE: Mapping[str, Metric] = {"accuracy": Accuracy(), "macro_f1": MacroF1(), "own": Mean(lambda p, e: 1 / 3)}
TEXT: Mapping[str, Metric] = {"token_f1": TokenF1(), "rouge_l": RougeL()}
JSON: Mapping[str, Metric] = {
    "valid": ValidJson(), "exact": JsonExactMatch(), "precision": FieldPrecision(), "f1": FieldF1(),
}  # fmt: skip
SCHEMA = {"type": "object"}


@pytest.mark.parametrize(
    ("metrics", "answer", "texts", "wanted"),
    [
        (CHOICE, Choice(("a", "b", "c")), ["a", "b", None, "c"], ["a", "a", "b", "c"]),
        (TEXT, Text(), ["on the third floor", "no idea", None], ["on the first floor", "ask again", "yes"]),
        (JSON, Json(SCHEMA), ['{"x":1,"y":2}', '{"x":', None, '{"x":3}'], ['{"x":1,"y":3}'] * 4),
    ],
)
def test_stored_statistics_are_those_of_the_predictions(
    asked: Callable[..., Answers],
    tmp_path: Path,
    metrics: Mapping[str, Metric],
    answer: Answer,
    texts: list[str | None],
    wanted: list[str],
) -> None:
    answers = asked(texts, wanted, answer)
    write_question_scores(tmp_path, {"own": MetricSuite(metrics).score({"main": answers}, seed=0)})
    found = stored_statistics(tmp_path, "own", metrics, answers.ids)
    assert set(found) == set(metrics)
    for name, metric in metrics.items():
        computed = numbers_of(metric, answers.predictions, answers.examples, answers.request.task)
        assert np.array_equal(found[name], computed)
    assert stored_statistics(tmp_path, "other", metrics, answers.ids) == {}
    assert stored_statistics(tmp_path, "own", metrics, [*answers.ids, "new"]) == {}


def test_scores_of_an_earlier_version_are_enough_for_means_only(asked: Callable[..., Answers], tmp_path: Path) -> None:
    answers = asked(["a", "b"], ["a", "a"], Choice(("a", "b")))
    write_question_scores(tmp_path, {"own": MetricSuite(CHOICE).score({"main": answers}, seed=0)})
    file = tmp_path / PER_QUESTION
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line for line in lines if "statistics" in line and line["metric"] != "macro_f1"] == []
    old = [{name: value for name, value in line.items() if name != "statistics"} for line in lines]
    file.write_text("".join(json.dumps(line) + "\n" for line in old), encoding="utf-8")
    assert set(stored_statistics(tmp_path, "own", CHOICE, answers.ids)) == {"accuracy", "own"}
    file.write_text("[1", encoding="utf-8")
    assert stored_statistics(tmp_path, "own", CHOICE, answers.ids) == {}
    file.unlink()
    assert stored_statistics(tmp_path, "own", CHOICE, answers.ids) == {}


def test_a_comparison_of_stored_scores_is_that_of_recomputed_ones(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", "method=majority,linear,few_shot", "seed=0,1", "dataset=toy", "model=toy", "tracking=none"]

    def compared() -> dict[str, object]:
        capsys.readouterr()
        assert main([*words, "--limit", "20", "--outputs", str(tmp_path), "--json"]) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)
        for file in tmp_path.glob("studies/*/judged.json"):
            file.unlink()
        return found

    stored = compared()
    monkeypatch.setattr(answered, "stored_statistics", lambda *given: {})
    recomputed = compared()
    for part in ("cells", "verdict", "tuned_differences", "bills", "break_even"):
        assert stored[part] == recomputed[part]
