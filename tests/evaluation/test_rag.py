"""RAG: conditions, rankings by hand, and errors that add up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import log2

import numpy as np
import pytest

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.ranking import ndcg, recall_at, reciprocal_rank
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.suite import Suite, SuiteScores
from stepladder.evaluation.suites.passages import distractors, gold_of, mixed
from stepladder.evaluation.suites.rag import Rag
from stepladder.types import Choice, Decoding, EvalRequest, Example, Passage, Prediction, Question, Task, Text

TASK = Task("Answer.", Text())
CORPUS = tuple(Passage(f"p{i}", f"The lamp of room {i} is colour{i}.") for i in range(12))
EXAMPLES = tuple(
    Example(Question(f"q{i}", f"Which lamp has room {i}?"), (f"colour{i}",), (f"p{i}",)) for i in range(10)
)
MAIN = EvalRequest("main", TASK, tuple(e.question for e in EXAMPLES), Decoding("greedy"))
GIVEN = EvalInputs(MAIN, EXAMPLES, corpus=CORPUS, retrieves=True)
Reader = Callable[[str, set[str], Example], str]


def found_for(question: Question) -> tuple[str, ...]:
    """A retriever that misses every other passage."""
    number = int(question.id[1:])
    return ("p11", f"p{number}", f"p{number}") if number % 2 else ("p11", "p10")


def reads(condition: str, shown: set[str], example: Example) -> str:
    """A reader that knows nothing by itself, and is put off by q1."""
    if example.question.id == "q1" and condition == "retrieved":
        return "colour9 no"
    return example.answers[0] if set(example.gold) & shown else "I do not know."


def answers(batch: EvalBatch, reader: Reader) -> Answers:
    predictions = []
    override = batch.request.override
    for example in batch.examples:
        fixed = None if override is None else override.passages
        shown = found_for(example.question) if fixed is None else tuple(p.id for p in fixed[example.question.id])
        name = "retrieved" if batch.request.name == "main" else batch.request.name
        predictions.append(Prediction(example.question.id, reader(name, set(shown), example), shown=shown))
    return Answers(batch.request, tuple(predictions), batch.examples)


def scored(suite: Rag, given: EvalInputs = GIVEN, reader: Reader = reads) -> SuiteScores:
    return suite.score({a.request.name: answers(a, reader) for a in suite.requests(given)}, seed=0)


def test_rankings_by_hand() -> None:
    ranking = ["b", "a", "d", "c"]
    assert [recall_at(ranking, ["a", "c"], k) for k in (1, 2, 4, 9)] == [0, 0.5, 1, 1]
    assert reciprocal_rank(ranking, ["c", "a"]) == 0.5
    assert reciprocal_rank(ranking, ["z"]) == 0
    assert ndcg(ranking, ["a", "c"], 4) == pytest.approx((1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3)))
    assert ndcg(ranking, ["b"], 1) == 1
    assert ndcg(ranking, ["b", "a", "z"], 2) == 1
    assert ndcg([], ["a"], 5) == 0


def test_the_conditions_show_what_they_say() -> None:
    suite = Rag(passages=4)
    assert isinstance(suite, Suite)
    batch = {a.request.name: a for a in suite.requests(GIVEN)}
    assert set(batch) == {"main", "none", "gold", "gold_among_distractors", "distractors", "retrieved"}
    shown: dict[str, Mapping[str, tuple[Passage, ...]]] = {
        name: a.request.override.passages for name, a in batch.items() if a.request.override is not None
    }
    for example in EXAMPLES:
        id_, gold = example.question.id, example.gold[0]
        assert shown["none"][id_] == ()
        assert [p.id for p in shown["gold"][id_]] == [gold]
        assert gold in [p.id for p in shown["gold_among_distractors"][id_]]
        assert gold not in [p.id for p in shown["distractors"][id_]]
        assert len({p.id for p in shown["gold_among_distractors"][id_]}) == 4
    places = [[p.id for p in shown["gold_among_distractors"][e.question.id]].index(e.gold[0]) for e in EXAMPLES]
    assert len(set(places)) > 1
    assert [a.request for a in suite.requests(GIVEN)] == [a.request for a in Rag(passages=4).requests(GIVEN)]


def test_errors_of_retriever_and_reader_add_to_all_errors_and_the_order_of_conditions_is_right() -> None:
    scores = scored(Rag(cutoffs=(1, 2, 5)))
    figures = {name: figure.value for name, figure in scores.metrics.items()}
    assert figures["gold"] >= figures["gold_among_distractors"] >= figures["retrieved"] >= figures["none"]
    assert (figures["none"], figures["retrieved"], figures["gold"]) == (0, 0.4, 1)
    wrong = 6
    assert scores.details["errors"] == {"retriever": 5, "reader": 1}
    assert figures["retriever_errors"] + figures["reader_errors"] == pytest.approx(wrong / 10)
    table = next(e for e in scores.tables if e.title == "Retriever or reader")
    assert table.rows == [["retriever", 5, 5 / 6, 5], ["reader", 1, 1 / 6, 1], ["all", 6, 1.0, 6]]
    assert figures["recall@1"] == 0
    assert figures["recall@2"] == 0.5
    assert figures["mrr"] == 0.25
    assert figures["ndcg@2"] == pytest.approx(0.5 / log2(3))
    assert "recall@5" not in figures


def test_questions_that_nothing_shown_answers_want_no_answer() -> None:
    scores = scored(Rag())
    assert scores.metrics["abstained_without_gold"].value == 1
    assert scores.metrics["abstained_with_gold"].value == 0
    choice = replace(GIVEN, main=replace(MAIN, task=Task("Say.", Choice(("colour1", "colour2")))))
    assert "abstentions" in scored(Rag(), choice).details["left_out"]


def test_methods_without_retrieval_get_the_other_conditions_and_methods_without_a_prompt_none() -> None:
    bare = scored(Rag(), replace(GIVEN, retrieves=False))
    assert bare.details["left_out"] == {"retrieved": "the method retrieves nothing"}
    assert "retrieved" not in bare.metrics
    floor = replace(GIVEN, retrieves=False, prompted=False)
    assert Rag().requests(floor) == (GIVEN.plain,)
    assert scored(Rag(), floor).details["left_out"]


def test_distractors_are_near_or_drawn_and_never_gold_nor_the_same_text() -> None:
    corpus = (*CORPUS, Passage("twin", CORPUS[3].text), Passage("far", "Nothing alike."))
    near = distractors(EXAMPLES, corpus, 3, "near", 0)
    assert all("far" not in [p.id for p in passages] for passages in near.values())
    drawn = distractors(EXAMPLES, corpus, 30, "random", 0)
    for example in EXAMPLES:
        assert example.gold[0] not in [p.id for p in drawn[example.question.id]]
    assert "twin" not in [p.id for p in drawn["q3"]]
    assert len(drawn["q3"]) == 12
    assert drawn != distractors(EXAMPLES, corpus, 30, "random", 1)
    assert mixed(gold_of(EXAMPLES, corpus), {e.question.id: () for e in EXAMPLES}, 3, 0) == gold_of(EXAMPLES, corpus)


def test_only_questions_with_gold_passages_are_used_and_none_at_all_is_refused() -> None:
    some = (*EXAMPLES[:4], *(replace(e, gold=()) for e in EXAMPLES[4:]))
    batch = {a.request.name: a for a in Rag().requests(replace(GIVEN, examples=some))}
    assert len(batch["gold"].examples) == 4
    assert len(Rag(rows=2).requests(GIVEN)[1].examples) == 2
    with pytest.raises(ConfigError, match="gold passages are known"):
        Rag().requests(replace(GIVEN, examples=tuple(replace(e, gold=()) for e in EXAMPLES)))
    with pytest.raises(ConfigError, match="gold passages are known"):
        Rag().requests(replace(GIVEN, corpus=()))
    with pytest.raises(ConfigError, match="5 faults"):
        Rag(passages=1, distractors="far", cutoffs=[0], right=0, rows=0)  # type: ignore[arg-type]


def test_one_row_all_right_or_all_wrong_gives_finite_figures() -> None:
    one = replace(GIVEN, examples=EXAMPLES[:1], main=replace(MAIN, questions=MAIN.questions[:1]))
    for reader in (reads, lambda condition, shown, example: example.answers[0], lambda *_: ""):
        scores = scored(Rag(), one, reader)
        figures = [x for f in scores.metrics.values() for x in (f.value, f.low, f.high)]
        assert np.isfinite(figures).all()
        assert sum(scores.details["errors"].values()) == round(1 - (scores.metrics["retrieved"].value >= 0.5))
