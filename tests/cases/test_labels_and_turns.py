"""What rows mean: labels, turns, overlaps, empty parts and lists, as the command line reports them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

Stepladder = Callable[..., Any]
COLUMNS = ("tracking=none", "dataset=file", "dataset.input=text", "dataset.target=label")
MESSAGES = ("tracking=none", "dataset=file", "dataset.layout=messages", "method=zero_shot")
SPAM, HAM = ("offer", "cash", "prize", "urgent"), ("meeting", "dinner", "home", "train")


def write(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(name).write_text(lines, encoding="utf-8")
    return name


def messages(spam: tuple[str, ...], ham: tuple[str, ...], count: int = 48) -> list[dict[str, str]]:
    """Rows whose words tell spam from ham, with the labels of each in turn."""
    rows = []
    for number in range(count):
        words, labels = (SPAM, spam) if number % 2 == 0 else (HAM, ham)
        turn = number // 2
        text = f"{words[turn % 4]} {words[(turn + 1) % 4]} number {number}"
        rows.append({"text": text, "label": labels[turn % len(labels)]})
    return rows


@pytest.mark.parametrize(
    ("spam", "ham"),
    [
        (("spam", "spam "), ("ham", " ham")),
        (("spam", "\u00a0spam"), ("ham", "ham\t")),
        (("caf\u00e9", "cafe\u0301"), ("ham",)),
        (("\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8"), ("ham\u3000",)),
    ],
)
def test_white_space_and_unicode_forms_make_no_labels(
    stepladder: Stepladder, spam: tuple[str, ...], ham: tuple[str, ...]
) -> None:
    file = write("rows.jsonl", messages(spam, ham))
    result = stepladder("run", *COLUMNS, "method=linear", f"dataset.train={file}", "--json")
    assert result.code == 0
    assert result.accuracy() == 1.0
    assert "look-alike" not in result.err


@pytest.mark.parametrize(
    ("spam", "reported"),
    [
        (("Spam", "spam"), "'Spam' (12), 'spam' (12) differ only in case"),
        (("1", "1.0", "01"), "'01' (8), '1' (8), '1.0' (8) are the same number"),
        (("credit  card", "credit card"), "'credit  card' (12), 'credit card' (12) differ only in white space"),
        (("sp\u200bam", "spam"), "'spam' (12), 'sp\\u200bam' (12) differ only in invisible characters"),
        (("sp\u0430m", "spam"), "have letters of different scripts that look the same"),
    ],
)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_look_alike_labels_are_reported_with_counts(
    stepladder: Stepladder, verb: str, spam: tuple[str, ...], reported: str
) -> None:
    file = write("rows.jsonl", messages(spam, ("0",)))
    result = stepladder(verb, *COLUMNS, "method=linear", f"dataset.train={file}")
    assert result.code == 0
    assert (result.out + result.err).count("note: look-alike labels: ") == 1
    assert reported in result.out + result.err


def test_check_prints_labels_with_counts(stepladder: Stepladder) -> None:
    file = write("rows.jsonl", messages(("Spam", "spam"), ("ham",)))
    words = ("check", *COLUMNS, "method=linear", f"dataset.train={file}")
    line = next(line for line in stepladder(*words).out.splitlines() if line.startswith("labels ("))
    assert "* looks like another label" in line
    assert "'Spam'*" in line
    assert "'ham' " in line
    found = stepladder(*words, "--json").json
    assert found["labels"] == 3
    assert {label: sum(rows.values()) for label, rows in found["label_counts"].items()} == {
        "Spam": 12,
        "spam": 12,
        "ham": 24,
    }
    assert found["look_alikes"] == [{"labels": {"Spam": 12, "spam": 12}, "difference": "differ only in case"}]


def test_many_labels_are_summed_up(stepladder: Stepladder) -> None:
    rows = [{"text": f"text {n} {n % 80}", "label": f"topic {n % 80:02}"} for n in range(320)]
    rows += [{"text": f"more {n}", "label": "Topic 07"} for n in range(4)]
    result = stepladder("check", *COLUMNS, "method=linear", f"dataset.train={write('rows.jsonl', rows)}")
    line = next(line for line in result.out.splitlines() if line.startswith("labels ("))
    assert "81, most: " in line
    assert "look-alikes: 'Topic 07'*" in line
    assert len(line) < 600


def test_a_long_label_is_listed_in_part(stepladder: Stepladder) -> None:
    file = write("rows.jsonl", messages(("s" * 500,), ("ham",)))
    result = stepladder("check", *COLUMNS, "method=linear", f"dataset.train={file}")
    line = next(line for line in result.out.splitlines() if line.startswith("labels ("))
    assert f"'{'s' * 55}...' " in line
    assert len(line) < 160


def call(**more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "Let me look.", **more}


TOOL_CALL = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
USER, ANSWER = {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Sunny."}


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([USER, call(tool_calls=TOOL_CALL)], "turn 2 of messages calls a tool"),
        ([USER, call(content=None, tool_calls=TOOL_CALL), USER, ANSWER], "turn 2 of messages calls a tool"),
        ([USER, {"role": "assistant", "tool_calls": TOOL_CALL}, USER, ANSWER], "turn 2 of messages calls a tool"),
        ([USER, call(function_call={"name": "f", "arguments": "{}"})], "turn 2 of messages calls a function"),
        ([USER, call(content=None), USER, ANSWER], "turn 2 of messages has no text (content is null)"),
        ([USER, {"role": "assistant", "content": None}], "turn 2 of messages has no text"),
        ([USER, {"role": "assistant", "content": []}, USER, ANSWER], "turn 2 of messages has no text"),
        ([USER, call(), {"role": "tool", "content": "3"}, ANSWER], "turn 3 of messages has the role 'tool'"),
        ([USER, call(), {"role": "function", "content": "3"}, ANSWER], "turn 3 of messages has the role 'function'"),
        ([{**USER, "tool_call_id": "c1"}, ANSWER], "turn 1 of messages is the result of a tool call"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ANSWER], "parts that are not text"),
        ([{**USER, "images": ["a.png"]}, ANSWER], "turn 1 of messages contains an image"),
        ([USER, {**ANSWER, "weight": 0}], "the answer is excluded from training (weight: 0)"),
        ([USER, {**ANSWER, "weight": 0.0}], "the answer is excluded from training (weight: 0.0)"),
        ([USER, {**ANSWER, "train": False}], "the answer is excluded from training (train: false)"),
        ([USER, {**ANSWER, "weight": 0.5}], "turn 2 of messages has weight '0.5', which is not 0 or 1"),
        ([{"from": "human", "value": "Hi"}, ANSWER], "set dataset.layout=sharegpt"),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_turns_that_text_cannot_represent_are_bad_rows(
    stepladder: Stepladder, turns: list[Any], reason: str, part: str
) -> None:
    good = write("good.jsonl", ({"messages": [{"role": "user", "content": f"q {n}"}, ANSWER]} for n in range(8)))
    bad = write("bad.jsonl", [{"messages": [{"role": "user", "content": "fine?"}, ANSWER]}, {"messages": turns}])
    files = {"train": good, "test": good, part: bad}
    named = [f"dataset.{name}={file}" for name, file in files.items()]
    result = stepladder("check", *MESSAGES, "model=toy", *named)
    assert result.code == 2
    assert reason in result.err
    assert "bad.jsonl, line 2" in result.err


@pytest.mark.parametrize(
    ("extra", "note"),
    [
        ({"reasoning_content": "Look outside."}, "8 rows: the key 'reasoning_content' of a turn is not used"),
        ({"name": "Ann"}, "8 rows: the key 'name' of a turn is not used"),
        ({"weight": 1}, None),
        ({"tool_calls": [], "function_call": None, "name": None}, None),
    ],
)
def test_keys_of_a_turn_that_are_not_used_are_reported(
    stepladder: Stepladder, extra: dict[str, Any], note: str | None
) -> None:
    rows = ({"messages": [{"role": "user", "content": f"q {n}"}, {**ANSWER, **extra}]} for n in range(8))
    result = stepladder("check", *MESSAGES, "model=toy", f"dataset.train={write('rows.jsonl', rows)}")
    assert result.code == 0
    assert (f"{note} (the first: rows.jsonl, line 1)" in result.out) if note else ("not used" not in result.out)


def test_a_turn_before_the_answer_may_be_left_out_of_training(stepladder: Stepladder) -> None:
    rows = (
        {"messages": [{"role": "user", "content": f"q {n}"}, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}]}
        for n in range(8)
    )
    result = stepladder("check", *MESSAGES, "model=toy", f"dataset.train={write('rows.jsonl', rows)}")
    assert result.code == 0
    assert "8 read, 8 kept, 0 rejected" in result.out


def test_overlaps_in_other_unicode_forms_are_counted_once(stepladder: Stepladder) -> None:
    rows = [{**row, "text": f"\u00e9 {row['text']}"} for row in messages(("spam",), ("ham",), 24)]
    train = write("train.jsonl", rows)
    test = write("test.jsonl", ({**row, "text": f"e\u0301{row['text'][1:]}"} for row in rows[:8]))
    result = stepladder("check", *COLUMNS, "method=linear", f"dataset.train={train}", f"dataset.test={test}")
    assert "rows: 32 read, 24 kept, 8 rejected" in result.out
    assert "8 of 32 rows read are rejected (8: overlap)" in result.out
    assert "0 of 32" not in result.out


@pytest.mark.parametrize("same", ["customer 1", "caf\u00e9"])
@pytest.mark.parametrize("policy", ["drop", "stop", "keep"])
def test_a_group_on_both_sides_of_named_files_is_an_overlap(stepladder: Stepladder, policy: str, same: str) -> None:
    rows = [{**row, "who": f"customer {n % 12}"} for n, row in enumerate(messages(("spam",), ("ham",), 24))]
    rows = [{**row, "who": same} if row["who"] == "customer 1" else row for row in rows]
    train = write("train.jsonl", rows)
    other = {"caf\u00e9": "cafe\u0301 "}.get(same, same)
    test = write("test.jsonl", [{"text": f"new {n}", "label": "ham", "who": other} for n in range(3)])
    words = (*COLUMNS, "method=linear", f"dataset.train={train}", f"dataset.test={test}", "dataset.group=who")
    result = stepladder("check", *words, f"dataset.on_overlap={policy}", "--json")
    if policy == "stop":
        assert result.code == 2
        assert "2 have the group of a held-out row" in result.err
        assert "train.jsonl, line 2 and test.jsonl, line 1" in result.err
        return
    found = result.json["rows"]
    assert found["overlap"] == 2
    assert found["rejected"] == (2 if policy == "drop" else 0)
    assert any("the group of a held-out row" in note for note in found["notes"])
    assert all(same in row["reason"] and "train.jsonl" in row["file"] for row in found["rejected_rows"])


@pytest.mark.parametrize("nothing", [None, "", "  ", "\u200b"])
def test_an_empty_part_of_a_template_is_reported(stepladder: Stepladder, nothing: Any) -> None:
    rows = [
        {"premise": row["text"], "hypothesis": nothing if n % 8 == 0 else "so it is", "label": row["label"]}
        for n, row in enumerate(messages(("spam",), ("ham",), 24))
    ]
    words = (*COLUMNS[:2], "dataset.input='{premise} -> {hypothesis}'", "dataset.target=label", "method=linear")
    result = stepladder("check", *words, f"dataset.train={write('rows.jsonl', rows)}")
    assert result.code == 0
    assert "3 rows: a part of the input is empty: hypothesis (the first: rows.jsonl, line 1)" in result.out


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ('["Paris", "City of Paris"]', ("Paris", "City of Paris")),
        (' ["\u5df4\u9ece"]\n', ("\u5df4\u9ece",)),
        ('["\\u0414\\u0430", 1]', ("\u0414\u0430", "1")),
        ("[1] as in the book", None),
        ("[sic]", None),
        ("['Paris', 'City']", None),
        ('[{"text": "Paris"}]', None),
        ('[["Paris"]]', None),
        ('["Paris"', None),
    ],
)
def test_a_cell_that_holds_a_json_list_is_several_accepted_answers(
    stepladder: Stepladder, here: Path, cell: str, answers: tuple[str, ...] | None
) -> None:
    from stepladder.dataset.dataset import Dataset

    file = write("rows.jsonl", ({"q": f"capital {n}?", "a": cell} for n in range(12)))
    loaded = Dataset(train=file, input="q", target="a", task={"kind": "text"}).read()
    assert {example.answers for example in loaded.train} == {answers or (cell,)}
    words = ("tracking=none", "dataset=file", "dataset.input=q", "dataset.target=a", "dataset.task.kind=text")
    result = stepladder("check", *words, "method=linear", f"dataset.train={file}")
    assert ("12 rows: a is a JSON list" in result.out) == (answers is not None)
