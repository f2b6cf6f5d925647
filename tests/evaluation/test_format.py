"""Format: what is valid by the task's kind, and rules that are kept or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.suite import Suite, SuiteScores
from stepladder.evaluation.suites.format import FreeForm
from stepladder.evaluation.suites.style import Rule
from stepladder.types import Answer, Choice, Decoding, EvalRequest, Example, Json, Prediction, Question, Task, Text

JSON = Json({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})
MODES = {"choice": "choose", "text": "greedy", "json": "json"}


def scored(
    suite: FreeForm, answer: Answer, right: str, bound: Sequence[str], free: Sequence[str | None]
) -> SuiteScores:
    """`free`: what was written; None is a failure that wrote 'hm'."""
    task = Task("Say.", answer)
    examples = tuple(Example(Question(f"q{i}", "q"), (right,)) for i in range(len(bound)))
    decoding = Decoding(MODES[task.kind], 16)  # type: ignore[arg-type]
    inputs = EvalInputs(EvalRequest("main", task, tuple(e.question for e in examples), decoding), examples)

    def answers(batch: EvalBatch) -> Answers:
        texts = free if batch.request.name == "free" else bound
        predictions = [Prediction(f"q{i}", "hm" if text is None else text) for i, text in enumerate(texts)]
        predictions = [replace(p, failure="none" if p.text == "hm" else None) for p in predictions]
        predictions = [replace(p, new_tokens=16 if "long" in p.text else 3) for p in predictions]
        return Answers(batch.request, tuple(predictions), batch.examples)

    return suite.score({batch.request.name: answers(batch) for batch in suite.requests(inputs)}, seed=0)


def test_a_choice_is_valid_where_it_is_a_label() -> None:
    scores = scored(FreeForm(), Choice(("yes", "no")), "yes", ["yes"] * 4, ["yes", None, "no", None])
    assert isinstance(FreeForm(), Suite)
    assert scores.metrics["valid"].value == 0.5
    assert scores.metrics["score"].value == 0.25
    assert scores.metrics["cost_of_freedom"].value == 0.75
    assert scores.tables[1].rows == [["hm", 2]]
    assert [line.value for line in scores.per_question if line.metric == "valid"] == [1, 0, 1, 0]


def test_json_is_valid_where_it_meets_the_schema() -> None:
    written = ['{"n": 1}', '{"n": "1"}', "n = 1", None]
    scores = scored(FreeForm(), JSON, '{"n":1}', ['{"n":1}'] * 4, written)
    assert scores.metrics["valid"].value == 0.25
    assert scores.metrics["cost_of_freedom"].value == pytest.approx(1 - scores.metrics["score"].value)


def test_text_is_valid_where_there_is_any_and_lengths_are_counted() -> None:
    scores = scored(FreeForm(), Text(), "tea", ["tea"] * 3, ["one two", " ", "a very long answer"])
    assert scores.metrics["valid"].value == pytest.approx(2 / 3)
    assert scores.metrics["words"].value == pytest.approx(2)
    assert scores.metrics["cut_off"].value == pytest.approx(1 / 3)


def test_rules_are_counted_one_by_one_and_together() -> None:
    rules = {"brief": {"max_words": 2}, "kind": {"must": "(?i)please|thank"}, "plain": {"must_not": r"[<>|*]"}}
    written = ["Thank you", "please <b>", "thanks a lot, really", "No."]
    scores = scored(FreeForm(rules=rules), Text(), "tea", ["tea"] * 4, written)
    assert [scores.metrics[f"rule_{name}"].value for name in rules] == [0.75, 0.75, 0.75]
    assert scores.metrics["all_rules"].value == 0.25
    broken = {row[0]: row[1:3] for row in scores.tables[2].rows}
    assert broken == {"brief": [1, "q2"], "kind": [1, "q3"], "plain": [1, "q1"]}


def test_a_rule_says_what_it_asks_for() -> None:
    assert Rule(min_words=2, max_words=2).keeps("two words")
    assert not Rule(min_words=2).keeps("one")
    assert Rule(must=r"\bÖl\b").keeps("kein Öl da")
    for bad in ({}, {"must": "("}, {"max_words": -1}, {"min_words": 3, "max_words": 2}):
        with pytest.raises(ConfigError):
            Rule(**bad)
    with pytest.raises(ConfigError) as told:
        FreeForm(max_new_tokens=0, rules={"a": {"must": "("}, "b": {"musst": "x"}, "c": {}})
    assert [f.key for f in told.value.faults] == ["max_new_tokens", "rules.a.must", "rules.b", "rules.c"]


def test_free_form_answers_are_reused_where_the_main_ones_are_free_form() -> None:
    def requests(kind: Answer, decoding: Decoding, suite: FreeForm) -> list[Decoding]:
        main = EvalRequest("main", Task("Say.", kind), (), decoding)
        return [batch.request.decoding for batch in suite.requests(EvalInputs(main, ()))]

    sampled = Decoding("sampled", 20, temperature=0.5, seed=3)
    assert requests(Text(), sampled, FreeForm()) == [sampled, sampled]
    assert requests(Choice(("a", "b")), Decoding("greedy", 50), FreeForm())[1] == Decoding("greedy", 50)
    assert requests(Choice(("a", "b")), Decoding("choose", 128), FreeForm())[1].max_new_tokens == 32
    assert requests(JSON, Decoding("json", 384), FreeForm())[1] == Decoding("greedy", 384)
    assert requests(JSON, Decoding("json", 384), FreeForm(max_new_tokens=9))[1].max_new_tokens == 9


@pytest.mark.parametrize("answer", [Choice(("yes", "no")), Text(), JSON])
def test_one_row_and_nothing_but_failures_give_finite_figures(answer: Answer) -> None:
    right = '{"n":1}' if isinstance(answer, Json) else "yes"
    for free in ([None], [right], [""]):
        scores = scored(FreeForm(rules={"short": {"max_words": 1}}), answer, right, [right], free)
        for figure in scores.metrics.values():
            assert np.isfinite([figure.value, figure.low, figure.high]).all()
