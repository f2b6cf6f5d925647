"""The metric suite: its requests, scores, lines and details, and the suites that are shipped."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from stepladder.errors import ConfigError
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1, Metric
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.suite import MetricSuite, QuestionScore, Suite
from stepladder.evaluation.tables import Curves, Drawing, Table
from stepladder.io.serialise import from_plain, to_plain
from stepladder.types import Choice, Json, Text

CONF = Path(__file__).parents[2] / "conf" / "evaluation"
CHOICE = MetricSuite({"accuracy": Accuracy(), "macro_f1": MacroF1()}, kind="choice")


@pytest.fixture
def scored(asked):
    answers = asked(["a", "a", "b", None, "b"], ["a", "b", "b", "b", "a"], Choice(("a", "b", "unused")))
    return CHOICE.score({"main": answers}, seed=0)


def test_it_asks_for_the_plain_answers_only(asked):
    answers = asked(["a"], ["a"])
    assert isinstance(CHOICE, Suite)
    inputs = EvalInputs(answers.request, answers.examples)
    assert CHOICE.requests(inputs) == (EvalBatch(answers.request, answers.examples),)


def test_scores_have_a_figure_a_metric_and_a_line_a_question_and_metric(scored):
    assert scored.metrics["accuracy"].value == pytest.approx(2 / 5)
    lines = scored.per_question
    assert len(lines) == 5 * 2
    assert lines[1] == QuestionScore("q1", "accuracy", 0.0)
    assert all(line.value is None for line in lines if line.metric == "macro_f1")
    written = to_plain(scored.metrics["accuracy"])
    assert set(written) == {"value", "low", "high", "n"}


def test_details_have_labels_and_failures(scored):
    assert scored.details["failures"] == {"count": 1, "reasons": {"no label": 1}}
    assert set(scored.details["labels"]) == {"a", "b"}
    a, b = scored.details["labels"]["a"], scored.details["labels"]["b"]
    assert (a["precision"], a["recall"], a["f1"], a["support"]) == (1 / 2, 1 / 2, 1 / 2, 2)
    assert (b["precision"], b["recall"], b["support"], b["predicted"]) == (1 / 2, 1 / 3, 3, 2)


def test_a_precision_without_predictions_is_none_and_no_zero(asked):
    scores = CHOICE.score({"main": asked(["a", "a"], ["a", "b"], Choice(("a", "b")))}, seed=0)
    assert scores.details["labels"]["b"]["precision"] is None
    assert scores.details["labels"]["b"]["recall"] == 0


def test_a_metric_that_says_nothing_is_left_out_with_its_reason(asked):
    scores = CHOICE.score({"main": asked(["a"], ["a"], Choice())}, seed=0)
    assert set(scores.metrics) == {"accuracy"}
    assert scores.details["left_out"] == {"macro_f1": "every question brings its own choices"}


def test_the_same_answers_and_seed_give_the_same_scores(asked):
    answers = {"main": asked(["a", "b"] * 20, ["a", "b", "b", "a"] * 10, Choice(("a", "b")))}
    assert CHOICE.score(answers, seed=7) == CHOICE.score(answers, seed=7)


def test_bad_suites_are_refused(asked):
    with pytest.raises(ConfigError, match="at least one metric"):
        MetricSuite({})
    with pytest.raises(ConfigError, match="did you mean 'accuracy'"):
        MetricSuite({"accuracy": Accuracy()}, main="acuracy")
    with pytest.raises(ConfigError, match="not a kind of task"):
        MetricSuite({"accuracy": Accuracy()}, kind="image")
    with pytest.raises(ConfigError, match="for choice tasks, the data is a text task"):
        CHOICE.score({"main": asked(["a"], ["a"], Text())}, seed=0)
    assert MetricSuite({"accuracy": Accuracy()}).main == "accuracy"


@pytest.mark.parametrize(
    ("name", "main", "metrics", "answer"),
    [
        ("classification", "accuracy", ["accuracy", "macro_f1"], Choice(("{}", "x"))),
        ("answers", "token_f1", ["exact_match", "token_f1", "rouge_l", "chrf"], Text()),
        (
            "extraction",
            "field_f1",
            ["valid", "exact_match", "field_precision", "field_recall", "field_f1"],
            Json({"type": "object"}),
        ),
    ],
)
def test_a_shipped_suite_builds_and_finds_right_answers_right(asked, name, main, metrics, answer):
    (node,) = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8")).values()
    built = {key: _class(inner["_target_"])() for key, inner in node["metrics"].items()}
    suite = _class(node["_target_"])(metrics=built, kind=node["kind"], main=node["main"])
    assert (suite.main, list(suite.metrics)) == (main, metrics)
    assert all(isinstance(metric, Metric) for metric in built.values())
    good = {"text": "tea", "choice": "x", "json": '{"a":1}'}[node["kind"]]
    scores = suite.score({"main": asked([good] * 3, [good] * 3, answer)}, seed=0)
    assert [each.value for each in scores.metrics.values()] == pytest.approx([1] * len(metrics))
    wrong = suite.score({"main": asked([None] * 3, [good] * 3, answer)}, seed=0)
    assert [each.value for each in wrong.metrics.values()] == [0] * len(metrics)


def test_every_kind_of_task_has_a_suite_in_auto():
    auto = yaml.safe_load((CONF / "auto.yaml").read_text(encoding="utf-8"))["defaults"]
    kinds = [next(iter(yaml.safe_load((CONF / f"{name}.yaml").read_text()).values()))["kind"] for name in auto]
    assert sorted(kinds) == ["choice", "json", "text"]


def _class(target: str):
    module, _, name = target.rpartition(".")
    return getattr(import_module(module), name)


def test_tables_are_written_as_plain_data_and_read_back():
    tables = (Table("t", ["a"], [["<b>", 1.5, None]]), Curves("c", "x", "y", {"one": [(0, 1)]}, diagonal=True))
    written = json.loads(json.dumps(to_plain(tables)))
    assert to_plain(from_plain(tuple[Drawing, ...], written, "here")) == written
    assert written == [
        {"kind": "table", "title": "t", "columns": ["a"], "rows": [["<b>", 1.5, None]], "note": ""},
        {"kind": "curves", "title": "c", "x": "x", "y": "y", "lines": {"one": [[0, 1]]}, "diagonal": True, "note": ""},
    ]
