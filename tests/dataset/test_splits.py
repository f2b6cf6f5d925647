"""The split of a row depends on its content only; groups and equal questions stay together; splits do not overlap."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepladder.dataset.accounts import Place, RowLog
from stepladder.dataset.dataset import Dataset
from stepladder.dataset.rows import Row
from stepladder.dataset.splits import Split, at_most, divide, without_overlap
from stepladder.errors import ConfigError, DataError
from stepladder.types import Example, Message, Question


def row(text: str, label: str = "a", group: str | None = None, line: int = 1, **more) -> Row:  # type: ignore[no-untyped-def]
    return Row(Place("f", line), Example(Question(f"{line}", text, group=group, **more), (label,)))


def sides(parts) -> dict[str, str]:  # type: ignore[no-untyped-def]
    return {r.question.text: side for side, rows in parts.items() for r in rows}


def many(count: int, labels: int = 4) -> list[Row]:
    return [row(f"text {n}", f"label {n % labels}", line=n) for n in range(count)]


def test_shares_are_within_sampling_error() -> None:
    parts = divide(many(4000), Split(0.3, 0.1), True)
    assert abs(len(parts["test"]) / 4000 - 0.3) < 0.025
    assert abs(len(parts["validation"]) / 4000 - 0.1) < 0.02
    for label in range(4):
        share = sum(r.example.answers == (f"label {label}",) for r in parts["test"]) / 1000
        assert abs(share - 0.3) < 0.05


def test_new_rows_and_another_order_change_no_split() -> None:
    before = sides(divide(many(400), Split(), True))
    more = many(400) + [row(f"new {n}", f"label {n % 4}") for n in range(300)]
    random.Random(0).shuffle(more)
    after = sides(divide(more, Split(), True))
    assert {text: after[text] for text in before} == before


def test_a_growing_group_stays_in_its_split() -> None:
    rows = [row(f"text {n}", group=f"g{n % 50}") for n in range(200)]
    before = sides(divide(rows, Split(), False))
    joined = [row(f"new {n}", group=f"g{n}") for n in range(50)] + rows
    after = sides(divide(joined, Split(), False))
    assert {text: after[text] for text in before} == before
    assert all(after[f"new {n}"] == after[f"text {n}"] for n in range(50))


def test_the_order_of_the_file_is_kept() -> None:
    for rows in divide(many(100), Split(), True).values():
        assert [r.place.line for r in rows] == sorted(r.place.line for r in rows)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from("abc"), st.sampled_from([None, "g", "h", "i", "j"])),
        min_size=1,
        max_size=60,
    )
)
def test_equal_questions_and_groups_stay_together_and_no_row_is_lost(drawn: list[tuple[int, str, str | None]]) -> None:
    rows = [row(f" text  {n}" if n % 2 else f"text {n}", label, group) for n, label, group in drawn]
    try:
        parts = divide(rows, Split(0.4, 0.2), True)
    except DataError:
        labels = [
            {r.example.answers for r in rows if r.question_key == asked} for asked in {r.question_key for r in rows}
        ]
        counts = Counter(label for each in labels for label in each)
        assert {r.question.group for r in rows} != {None} or all(any(counts[x] == 1 for x in each) for each in labels)
        return
    assert sorted(map(id, rows)) == sorted(id(r) for part in parts.values() for r in part)
    for seen in (lambda r: r.question_key, lambda r: r.question.group or id(r)):
        found = [{seen(r) for r in part} for part in parts.values()]
        assert sum(map(len, found)) == len(set.union(*found))
    assert {r.example.answers for r in parts["train"]} == {r.example.answers for r in rows}


@pytest.mark.parametrize("seed", range(20))
def test_small_labels_keep_a_training_and_a_test_row(seed: int) -> None:
    rows = [row(f"{seed} {label} {n}", f"label {label}") for label in range(30) for n in range(2 + label % 3)]
    parts = divide(rows, Split(0.3, 0.1), True)
    labels = {r.example.answers for r in rows}
    assert {r.example.answers for r in parts["train"]} == labels
    assert {r.example.answers for r in parts["test"]} == labels


def test_few_rows_give_all_three_splits() -> None:
    for seed in range(20):
        parts = divide([row(f"{seed} {n}") for n in range(4)], Split(0.3, 0.1), False)
        assert all(parts.values())


def test_a_test_row_is_found_where_the_first_choice_has_the_only_row_of_a_label() -> None:
    for seed in range(20):
        rows = [row(f"{seed} one", "a"), row(f"{seed} both", "a"), row(f"{seed} both", "b")]
        parts = divide(rows, Split(0.4, 0.2), True)
        assert [r.question.text for r in parts["test"]] == [f"{seed} one"]


def test_rows_that_cannot_be_split_are_an_error() -> None:
    with pytest.raises(DataError, match="too few rows"):
        divide([row(f"text {n}", group="g") for n in range(9)], Split(), True)


@pytest.mark.parametrize("shares", [(-0.1, 0.1), (1.0, 0.0), (0.6, 0.4)])
def test_invalid_shares(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError):
        Split(*shares)


def overlapping() -> dict:  # type: ignore[type-arg]
    return {
        "train": [row("Café  one", line=1), row("two", line=2), row("three", line=3), row("CAFÉ ONE", line=4)],
        "validation": [row("two", line=5), row("four", line=6)],
        "test": [row(unicodedata.normalize("NFD", "Café one\n"), line=7), row("four", line=8)],
    }


def test_drop_removes_the_training_row() -> None:
    log = RowLog("stop")
    kept, found = without_overlap(overlapping(), "drop", log)
    assert {side: [r.place.line for r in rows] for side, rows in kept.items()} == {
        "test": [7, 8],
        "validation": [5],
        "train": [3, 4],
    }
    assert found == len(log.rejections) == 3
    assert "this training row has the same question as a test row (f, line 7)" in log.rejections[-2].reason
    assert "1 dropped from the validation rows, 2 dropped from the training rows (" in log.notes[0]


def test_keep_keeps_and_counts_and_stop_stops() -> None:
    kept, found = without_overlap(overlapping(), "keep", RowLog("stop"))
    assert {side: len(rows) for side, rows in kept.items()} == {"test": 2, "validation": 2, "train": 4}
    assert found == 3
    with pytest.raises(DataError, match="3 training or validation rows") as caught:
        without_overlap(overlapping(), "stop", RowLog("stop"))
    assert "f, line 1 and f, line 7" in caught.value.where


def test_another_history_or_system_text_or_choice_is_another_question() -> None:
    rows = [row("x"), row("x", system="s"), row("x", history=(Message("user", "h"),)), row("x", choices=("a", "b"))]
    assert len({r.question_key for r in rows}) == 4


def test_a_limit_applies_per_label_and_a_smaller_one_is_a_subset() -> None:
    rows = many(200)
    ten, five = at_most(rows, 10, True), at_most(list(reversed(rows)), 5, True)
    assert len(ten) == 40
    assert {r.question.text for r in five} < {r.question.text for r in ten}
    assert len(at_most(rows, 10, False)) == 10


def test_only_missing_splits_are_split_off(write) -> None:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(100)]
    test = [{"text": f"test {n}", "label": "ab"[n % 2]} for n in range(10)]
    train, held = write("train.jsonl", rows), write("test.jsonl", test)
    loaded = Dataset(train=train, test=held, input="text", target="label").read()
    assert [e.question.text for e in loaded.test] == [r["text"] for r in test]
    assert 0 < len(loaded.validation) < 25
    assert len(loaded.train) + len(loaded.validation) == 100
    loaded = Dataset(train=train, validation=held, input="text", target="label").read()
    assert len(loaded.validation) == 10
    assert 15 < len(loaded.test) < 45
    assert len(loaded.train) + len(loaded.test) == 100
    no_split = {"test": 0, "validation": 0}
    loaded = Dataset(train=train, input="text", target="label", split=no_split).read()
    assert len(loaded.train) == 100
    with pytest.raises(DataError, match="no test rows"):
        loaded.held_out("test")
