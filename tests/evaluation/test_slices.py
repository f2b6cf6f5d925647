"""Slices: planted weak spots are named, gaps are corrected, exchanged terms change what they change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import fisher_exact

from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.statistics.closed_form import holm
from stepladder.evaluation.suite import Suite, SuiteScores
from stepladder.evaluation.suites.gaps import gaps
from stepladder.evaluation.suites.slices import Slices
from stepladder.evaluation.suites.terms import swap_of
from stepladder.types import Choice, Decoding, EvalRequest, Example, Prediction, Question, Task, Text

CHOICE = Task("Say.", Choice(("yes", "no")))
Answer = Callable[[Question], str | None]


def inputs(texts: Sequence[str], tags: Sequence[dict[str, str]] | None = None, task: Task = CHOICE) -> EvalInputs:
    tags = tags or [{}] * len(texts)
    examples = tuple(
        Example(Question(f"q{i}", text, tags=tag), ("yes",))
        for i, (text, tag) in enumerate(zip(texts, tags, strict=True))
    )
    return EvalInputs(EvalRequest("main", task, tuple(e.question for e in examples), Decoding("greedy")), examples)


def scored(suite: Slices, given: EvalInputs, answer: Answer) -> SuiteScores:
    def answers(batch: EvalBatch) -> Answers:
        found = [(q, answer(q)) for q in batch.request.questions]
        return Answers(
            batch.request,
            tuple(Prediction(q.id, t or "", failure=None if t else "x") for q, t in found),
            batch.examples,
        )

    return suite.score({batch.request.name: answers(batch) for batch in suite.requests(given)}, seed=0)


def test_the_planted_weak_slice_is_named_and_its_gap_is_real() -> None:
    tags = [{"street": ("mill | lane", "<b>", "quay")[i % 3], "odd": str(i % 2)} for i in range(120)]
    given = inputs([f"number {i}" for i in range(120)], tags)
    scores = scored(
        Slices(lengths=0), given, lambda q: "no" if q.tags["street"] == "<b>" and int(q.id[1:]) % 4 else "yes"
    )
    assert isinstance(Slices(), Suite)
    worst = scores.details["worst"]
    assert (worst["tag"], worst["value"]) == ("street", "<b>")
    assert worst["gap"] < -0.5
    assert worst["p_adjusted"] < 0.001
    assert scores.metrics["gap"].value == worst["gap"]
    assert scores.metrics["worst"].value == worst["score"] < scores.metrics["all"].value
    table = scores.tables[0]
    assert len(table.rows) == 5
    odd = [row for row in table.rows if row[0] == "odd"]
    assert odd[0][5] == odd[1][5]


def test_a_part_and_its_rest_are_one_test_and_holm_counts_the_others() -> None:
    values = np.array([1.0] * 30 + [0, 1] * 15)
    one, two = np.arange(60) < 30, np.arange(60) % 3 == 0
    found = gaps(values, None, [one, ~one, two], seed=0)
    assert found[0].value == pytest.approx(0.5)
    assert found[0].value == pytest.approx(-found[1].value)
    p = float(fisher_exact([[30, 0], [15, 15]]).pvalue)
    assert [found[0].p, found[1].p] == pytest.approx([p, p])
    assert [f.p_adjusted for f in found] == pytest.approx([*[holm([p, found[2].p])[0]] * 2, holm([p, found[2].p])[1]])
    assert all(gap.low <= gap.value <= gap.high for gap in found)


def test_grouped_and_graded_rows_get_their_gaps_from_draws() -> None:
    generator = np.random.default_rng(0)
    values = generator.random(200)
    part = np.arange(200) % 2 == 0
    values[part] -= 0.4
    values = np.clip(values, 0, 1)
    (alone,) = gaps(values, None, [part], seed=0)
    (grouped,) = gaps(values, np.arange(200) // 20, [part], seed=0)
    for gap in (alone, grouped):
        assert gap.low < gap.value < gap.high < 0
        assert gap.p < 0.01
    clear = np.repeat([0.0, 1.0], [16, 8])
    (apart,) = gaps(clear, np.arange(24) // 2, [clear == 0], seed=0)
    assert (apart.value, apart.p < 0.01) == (-1, True)
    assert apart.low == -1 < apart.high < 0
    (two,) = gaps(np.repeat([0.0, 1.0], [10, 10]), np.arange(20) // 10, [np.arange(20) < 10], seed=0)
    assert two.p > 0.9
    equal = gaps(np.ones(40), np.arange(40) // 2, [np.arange(40) < 10], seed=0)[0]
    assert (equal.value, equal.p) == (0, 1)
    assert equal.low < 0 < equal.high


def test_small_slices_are_listed_and_not_judged() -> None:
    given = inputs([f"n {i}" for i in range(40)], [{"rare": "yes" if i < 3 else "no"} for i in range(40)])
    scores = scored(Slices(lengths=0, minimum=5), given, lambda q: "yes" if int(q.id[1:]) > 2 else "no")
    rows = scores.tables[0].rows
    assert ["rare", "yes", 3, None, None, None] in rows
    assert "too small" in scores.tables[0].note
    nothing = scored(Slices(lengths=0, minimum=50), given, lambda q: "yes")
    assert list(nothing.metrics) == ["all"]
    assert "no slice" in nothing.details["left_out"]["slices"]


@pytest.mark.parametrize("rows", [1, 2, 60])
def test_lengths_make_slices_where_there_are_no_tags(rows: int) -> None:
    given = inputs([" ".join(["word"] * (1 + i % 9)) for i in range(rows)])
    scores = scored(Slices(minimum=1), given, lambda q: "yes" if len(q.text.split()) < 7 else None)
    assert all(np.isfinite([f.value, f.low, f.high]).all() for f in scores.metrics.values())
    if rows == 60:
        assert (scores.details["worst"]["tag"], scores.details["worst"]["value"]) == ("words", "7 to 9")


def test_terms_are_exchanged_as_whole_words_with_their_case() -> None:
    swap = swap_of([["he", "she"], ["Mr", "Mrs"], ["James", "Wei", "Ana María"]])
    assert swap("He said that SHE is with Mr James, not Wei.") == "She said that HE is with Mrs Wei, not Ana María."
    assert swap("the cashew, Heather; ana maría") == "the cashew, Heather; James"
    assert swap("hıs heſhe ſhe") == "hıs heſhe he"
    assert swap(swap("he and she")) == "he and she"
    for bad in ([], [["he"]], [["he", "she"], ["SHE", "x"]], [["", "a"]]):
        with pytest.raises(ConfigError):
            swap_of(bad)


def test_answers_that_change_with_exchanged_terms_are_found() -> None:
    given = inputs(["Is he well?", "Is she well?", "Is it well?", "Did he call?"])
    suite = Slices(lengths=0, swaps={"gender": [["he", "she"]], "age": [["old", "young"]]})
    assert [a.request.name for a in suite.requests(given)] == ["main", "swap.gender"]
    scores = scored(suite, given, lambda q: "no" if " she " in q.text else "yes")
    assert scores.metrics["swap_gender_changed"].value == 1
    assert scores.metrics["swap_gender_changed"].n == 3
    assert scores.details["left_out"]["swap.age"] == "no question has any of its terms"
    same = scored(suite, given, lambda q: "yes")
    assert same.metrics["swap_gender_changed"].value == 0
    changed = scores.tables[-1].rows
    assert ["q0", "gender", "Is she well?", "yes", "no"] in changed


def test_a_free_answer_may_have_its_terms_exchanged_too() -> None:
    given = inputs(["Who is he?"], task=Task("Say.", Text()))
    given = replace(given, examples=(replace(given.examples[0], answers=("he is James",)),))
    suite = Slices(lengths=0, swaps={"names": [["he", "she"], ["James", "Emma"]]})
    scores = scored(suite, given, lambda q: "she is Emma" if "she" in q.text else "he is James")
    assert scores.metrics["swap_names_changed"].value == 0
    assert suite.requests(given)[1].examples[0].answers == ("he is James", "she is Emma")


def test_unknown_tags_and_missing_tags_are_reported() -> None:
    given = inputs(["a"] * 3)
    with pytest.raises(ConfigError, match="no tags, and no other slices"):
        Slices(lengths=0).requests(given)
    with pytest.raises(ConfigError, match="did you mean 'street'"):
        Slices(tags=["stret"]).requests(inputs(["a"], [{"street": "x"}]))
    with pytest.raises(ConfigError, match="3 faults"):
        Slices(lengths=1, minimum=0, swaps={"a": [["he"]]})
