"""Robustness: labels stay, a worst case is at most the plain score, ten formats are ten prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from stepladder.context.prompt import PlainPrompt, Reformatted, StructuredPrompt
from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs, chosen
from stepladder.evaluation.suite import Suite, SuiteScores
from stepladder.evaluation.suites.robustness import Robustness
from stepladder.types import (
    Choice,
    Decoding,
    EvalRequest,
    Example,
    Format,
    Json,
    Prediction,
    Question,
    Shown,
    Task,
    Text,
)

CONF = Path(__file__).parents[2] / "conf" / "evaluation" / "robustness.yaml"
SHIPPED = {k: v for k, v in yaml.safe_load(CONF.read_text(encoding="utf-8"))["robustness"].items() if k != "_target_"}
TASK = Task("Say whether it works.", Choice(("works", "broken")))
Answer = Callable[[EvalBatch, Question], str | None]


def inputs(rows: int = 40, task: Task = TASK, prompted: bool = True, groups: int = 0) -> EvalInputs:
    def group(row: int) -> str | None:
        return str(row % groups) if groups else None

    answers = task.answer.labels if isinstance(task.answer, Choice) else ('{"name":"Kitchen"}',)
    examples = tuple(
        Example(
            Question(f"q{i}", f"I am asking about radiator number {i} in the Kitchen.", group=group(i)),
            (answers[i % len(answers)],),
        )
        for i in range(rows)
    )
    request = EvalRequest("main", task, tuple(e.question for e in examples), Decoding("choose"))
    return EvalInputs(request, examples, prompted=prompted)


def answers(batch: EvalBatch, answer: Answer) -> Answers:
    found = []
    for question in batch.request.questions:
        text = answer(batch, question)
        found.append(Prediction(question.id, text or "", failure=None if text else "none of the labels"))
    return Answers(batch.request, tuple(found), batch.examples)


def scored(suite: Robustness, given: EvalInputs, answer: Answer) -> SuiteScores:
    return suite.score({a.request.name: answers(a, answer) for a in suite.requests(given)}, seed=1)


def right(batch: EvalBatch, question: Question) -> str:
    return next(e.answers[0] for e in batch.examples if e.question.id == question.id)


def test_no_label_changes_and_only_changed_questions_are_requested_again() -> None:
    given = inputs()
    answers = {e.question.id: e.answers for e in given.examples}
    texts = {e.question.id: e.question.text for e in given.examples}
    suite = Robustness(**SHIPPED)
    assert isinstance(suite, Suite)
    for batch in suite.requests(given)[1:]:
        assert {e.question.id: e.answers for e in batch.examples}.items() <= answers.items()
        if batch.request.name.startswith("perturbed"):
            assert all(q.text != texts[q.id] for q in batch.request.questions)
    again = suite.requests(given)
    assert [a.request for a in again] == [a.request for a in suite.requests(given)]
    other = [a.request.questions for a in replace(suite, seed=1).requests(given)]
    assert other != [a.request.questions for a in again]


@pytest.mark.parametrize("prompt", [PlainPrompt(), StructuredPrompt()])
def test_the_formats_give_as_many_really_different_prompts(prompt: PlainPrompt) -> None:
    formats = [Format(**words) for words in SHIPPED["formats"].values()]
    question = Question("q", "Is it broken?")
    told = [prompt.messages(TASK, question, Shown())]
    told += [Reformatted(prompt, each).messages(TASK, question, Shown()) for each in formats]
    assert len(formats) >= 10
    assert len({tuple(" ".join(m.content.split()) for m in messages) for messages in told}) == len(formats) + 1
    assert all("Is it broken?" in messages[-1].content for messages in told)
    assert all(TASK.instruction in messages[0].content for messages in told)


@pytest.mark.parametrize("groups", [0, 7])
def test_a_worst_case_is_at_most_the_plain_score_and_every_perturbed_one(groups: int) -> None:
    generator = np.random.default_rng(5)
    shares = {"main": 0.9}

    def sometimes(batch: EvalBatch, question: Question) -> str | None:
        good = generator.random() < shares.get(batch.request.name, 0.7)
        return right(batch, question) if good else None

    scores = scored(Robustness(**SHIPPED), inputs(groups=groups), sometimes).metrics
    assert scores["worst_case"].value <= scores["perturbed"].value
    assert scores["worst_case"].value <= scores["plain"].value
    assert scores["drop"].value == pytest.approx(scores["plain"].value - scores["perturbed"].value)
    assert scores["format_worst"].value <= scores["format_best"].value
    assert scores["format_spread"].value == pytest.approx(scores["format_best"].value - scores["format_worst"].value)
    for figure in scores.values():
        assert figure.low <= figure.value <= figure.high


def test_what_breaks_under_one_perturbation_is_found_there() -> None:
    def shouted_at(batch: EvalBatch, question: Question) -> str:
        return "broken" if question.text.isupper() else right(batch, question)

    scores = scored(Robustness(perturbations=("case", "filler")), inputs(), shouted_at)
    upper = [q for q in Robustness(perturbations=("case",)).requests(inputs())[1].request.questions if q.text.isupper()]
    hurt = sum(int(q.id[1:]) % 2 == 0 for q in upper)
    assert hurt > 0
    assert scores.metrics["plain"].value == 1
    assert scores.metrics["worst_case"].value == pytest.approx(1 - hurt / 40)
    assert scores.metrics["unchanged"].value == pytest.approx(1 - hurt / 80)
    table, broken = scores.tables
    rows = {row[0]: row for row in table.rows}
    assert rows["filler"][5] == 1
    assert rows["case"][5] == pytest.approx(1 - hurt / 40)
    assert {row[1] for row in broken.rows} == {"case"}
    worst = {line.id: line.value for line in scores.per_question if line.metric == "worst_case"}
    assert sum(worst.values()) == 40 - hurt


def test_methods_without_a_prompt_get_no_formats_which_is_reported() -> None:
    given = inputs(prompted=False)
    suite = Robustness(**SHIPPED)
    assert not [a for a in suite.requests(given) if a.request.name.startswith("format")]
    scores = scored(suite, given, right)
    assert scores.details["left_out"]["formats"] == "the method reads no prompt"
    assert not [name for name in scores.metrics if name.startswith("format")]


def test_json_answers_are_read_off_the_words_so_the_words_stay() -> None:
    given = inputs(task=Task("Read.", Json({"type": "object"})))
    names = [a.request.name for a in Robustness(**SHIPPED).requests(given) if a.request.name.startswith("perturbed")]
    assert names == ["perturbed.punctuation", "perturbed.filler", "perturbed.preamble"]
    for batch in Robustness(**SHIPPED).requests(given):
        assert all("in the Kitchen" in q.text for q in batch.request.questions)
    scores = scored(Robustness(perturbations=("case", "filler")), given, right)
    assert "words that the answer is made of" in scores.details["left_out"]["case"]


def test_rows_are_chosen_by_their_ids_whatever_their_order() -> None:
    given = inputs(30)
    some = chosen(given.examples, 7, 0)
    assert len(some) == 7
    assert chosen(given.examples[::-1], 7, 0) == some[::-1]
    assert chosen(given.examples[:6], 7, 0) == list(given.examples[:6])
    scores = scored(Robustness(rows=7, perturbations=("filler",)), given, right)
    assert scores.metrics["plain"].n == 7


@pytest.mark.parametrize("rows", [1, 2])
def test_few_rows_and_failures_give_finite_figures(rows: int) -> None:
    for answer in (right, lambda batch, question: None):
        for task in (TASK, Task("Say.", Text()), Task("Read.", Json({"type": "object"}))):
            scores = scored(Robustness(**SHIPPED), inputs(rows, task), answer)
            figures = [x for f in scores.metrics.values() for x in (f.value, f.low, f.high)]
            assert np.isfinite(figures).all()


def test_bad_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError, match="did you mean 'typos'") as told:
        Robustness(perturbations=("typoes",), formats={"a": {"question": "Q:"}, "b": {"answer": "x"}}, rows=0)
    assert len(told.value.faults) == 4
