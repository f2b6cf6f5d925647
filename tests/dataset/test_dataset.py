"""Reading a dataset: tasks, ids, row counts, and the position of every fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from stepladder.dataset.dataset import Dataset
from stepladder.dataset.splits import Split
from stepladder.dataset.task import TaskSpec
from stepladder.dataset.toy import Toy
from stepladder.errors import ConfigError, DataError
from stepladder.types import Choice, Json

ROWS = [{"text": f"text {n}", "label": ["ham", "spam"][n % 2]} for n in range(40)]
COLUMNS = {"input": "text", "target": "label"}


def csv_of(rows) -> str:  # type: ignore[no-untyped-def]
    return "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows)


def test_a_choice_task_from_one_file(write) -> None:
    dataset = Dataset(train=write("a.csv", csv_of(ROWS)), **COLUMNS)
    assert dataset.kind == "choice"
    loaded = dataset.read()
    assert loaded.task.answer == Choice(("ham", "spam"))
    assert loaded.task.instruction
    assert loaded.training.train == loaded.train
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 40
    assert [p.id for p in loaded.corpus] == [e.question.id for e in loaded.train]
    assert loaded.corpus[0].text == f"{loaded.train[0].question.text}\n{loaded.train[0].answers[0]}"
    assert loaded.origins["train"].startswith("sha256:")


def test_ids_follow_content_not_place_or_name(write) -> None:
    one = Dataset(train=write("a.csv", csv_of(ROWS)), **COLUMNS).read()
    other = Dataset(train=write("b.jsonl", list(reversed(ROWS))), **COLUMNS).read()
    assert {e.question.text: e.question.id for e in one.test} == {e.question.text: e.question.id for e in other.test}
    relabelled = [{**row, "label": "eggs"} for row in ROWS]
    again = Dataset(train=write("c.jsonl", [*relabelled, *ROWS[:2]]), **COLUMNS).read()
    ids = [e.question.id for e in (*again.train, *again.validation, *again.test)]
    assert len(set(ids)) == 42
    assert sum(own.endswith("-2") for own in ids) == 2
    assert {e.question.id for e in one.train} <= set(ids)


def test_rows_are_accounted_for(write) -> None:
    bad = "text,label\none,ham\n,ham\nthree\nfour,spam\nfive,\nsix,ham\n"
    keys = {"test": write("test.csv", "text,label\nsix,ham\nseven,spam\n"), **COLUMNS, "split": {"validation": 0}}
    loaded = Dataset(train=write("train.csv", bad), on_bad_row="skip", **keys).read()
    accounts = loaded.accounts.as_dict()
    assert (accounts["read"], accounts["kept"], accounts["rejected"]) == (8, 4, 4)
    assert accounts["files"] == {
        "train.csv": {"read": 6, "kept": 2, "rejected": 4},
        "test.csv": {"read": 2, "kept": 2, "rejected": 0},
    }
    assert [row["line"] for row in accounts["rejected_rows"]] == [3, 4, 6, 7]
    assert accounts["overlap"] == 1
    assert accounts["train"] + accounts["validation"] + accounts["test"] == accounts["kept"]
    json.dumps(accounts)
    with pytest.raises(DataError, match="the input is empty") as caught:
        Dataset(train="train.csv", **keys).read()
    assert caught.value.where == "train.csv, line 3"
    assert "3 bad rows of 8 read" in caught.value.what


def test_at_most_a_hundred_rejected_rows_are_listed(write) -> None:
    path = write("a.csv", csv_of(ROWS) + ",ham\n" * 150)
    accounts = Dataset(train=path, on_bad_row="skip", **COLUMNS).read().accounts.as_dict()
    assert accounts["rejected"] == 150
    assert len(accounts["rejected_rows"]) == 100


def test_a_byte_that_is_not_utf8_stops_or_rejects_its_row(write) -> None:
    path = write("a.csv", csv_of(ROWS).encode() + "é,ham\n".encode() + b"caf\xe9,ham\n")
    with pytest.raises(DataError, match="byte 0xe9 at byte offset") as caught:
        Dataset(train=path, **COLUMNS).read()
    assert caught.value.where == "a.csv, line 43"
    assert Dataset(train=path, on_bad_row="skip", **COLUMNS).read().accounts.rejected == 1


def test_a_file_without_a_readable_row_reports_its_first_fault(write) -> None:
    path = write("a.jsonl", '\n{"text": "é", "label": "ham"}\n{"text": "ü", "label": "spam"}\n'.encode("latin-1"))
    for policy in ("stop", "skip"):
        with pytest.raises(DataError, match="byte 0xe9 at byte offset 11") as caught:
            Dataset(train=path, on_bad_row=policy, encoding="utf-8", **COLUMNS).read()
        assert caught.value.where == "a.jsonl, line 2"


@pytest.mark.parametrize("depth", [101, 400, 900, 5000, 100_000])
def test_a_json_answer_nested_too_deep_is_a_bad_row(write, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    rows = [{"text": "a", "label": "[]"}, {"text": "b", "label": nested}]
    as_value = f'{{"text": "a", "label": []}}\n{{"text": "b", "label": {nested}}}\n'
    for path in (write("text.jsonl", rows), write("value.jsonl", as_value)):
        with pytest.raises(DataError, match=r"A bad row: .*nested") as caught:
            Dataset(test=path, task={"kind": "json"}, **COLUMNS).read()
        assert caught.value.where == f"{path}, line 2"


def test_a_lone_surrogate_is_not_text(write) -> None:
    path = write("a.jsonl", '{"text": "x \\ud83d", "label": "ham"}\n')
    with pytest.raises(DataError, match="surrogate"):
        Dataset(test=path, **COLUMNS).read()


@pytest.mark.parametrize(
    ("keys", "what", "to_do"),
    [
        ({"input": "txt"}, "no column 'txt' in a.csv", "did you mean 'text'? (columns there: text, label)"),
        ({"target": "category"}, "no column 'category'", "columns there: text, label (read from the first line)"),
        ({"group": "labl"}, "no column 'labl'", "did you mean 'label'?"),
        ({"input": "{text} {asked}"}, "no column 'asked'", "columns there: text, label"),
        ({"tags": ["length"]}, "no column 'length'", "columns there: text, label"),
    ],
)
def test_a_missing_column(write, keys: dict, what: str, to_do: str) -> None:  # type: ignore[type-arg]
    path = write("a.csv", csv_of(ROWS))
    with pytest.raises(DataError, match=what) as caught:
        Dataset(train=path, **{**COLUMNS, **keys}).read()
    assert to_do in caught.value.to_do


def test_one_label_only(write) -> None:
    with pytest.raises(DataError, match="only one label, 'ham'"):
        Dataset(train=write("a.csv", csv_of(ROWS[::2])), **COLUMNS).read()


def test_a_test_label_never_seen_in_training(write) -> None:
    train, test = write("a.csv", csv_of(ROWS)), write("b.csv", "text,label\nx,ham\ny,spm\n")
    with pytest.raises(
        DataError, match=r"never seen in training, the first: 'spm' \(did you mean 'spam'\?\)"
    ) as caught:
        Dataset(train=train, test=test, on_bad_row="skip", **COLUMNS).read()
    assert caught.value.where == "b.csv, line 3"
    named = Dataset(train=train, test=test, labels=["ham", "spam", "spm"], **COLUMNS).read()
    assert named.task.answer == Choice(("ham", "spam", "spm"))


def test_labels_with_definitions_and_a_row_with_another_label(write) -> None:
    train = write("a.csv", csv_of(ROWS))
    loaded = Dataset(train=train, labels={"spam": "not wanted", "ham": "wanted"}, **COLUMNS).read()
    assert loaded.task.answer == Choice(("spam", "ham"), {"spam": "not wanted", "ham": "wanted"})
    with pytest.raises(DataError, match="'spam' is not among the labels"):
        Dataset(train=train, labels=["ham", "eggs"], **COLUMNS).read()


def test_duplicate_ids_name_both_rows(write) -> None:
    rows = [{**row, "id": f"r{n % 39}"} for n, row in enumerate(ROWS)]
    with pytest.raises(DataError, match="Two rows have the id 'r0'") as caught:
        Dataset(train=write("a.jsonl", rows), id="id", **COLUMNS).read()
    assert caught.value.where == "a.jsonl, line 1 and a.jsonl, line 40"
    with pytest.raises(DataError, match="Two rows have the id 'r1'") as caught:
        Dataset(train=write("b.jsonl", rows[:39]), test=write("c.jsonl", rows[1:3]), id="id", **COLUMNS).read()
    assert caught.value.where == "b.jsonl, line 2 and c.jsonl, line 1"


def test_a_test_file_alone(write) -> None:
    loaded = Dataset(test=write("a.csv", csv_of(ROWS)), **COLUMNS).read()
    assert len(loaded.held_out("test")) == 40
    assert loaded.train == loaded.validation == loaded.corpus == ()
    assert loaded.task.answer == Choice(("ham", "spam"))
    assert "no training rows" in loaded.accounts.notes[0]


def test_without_training_rows_nothing_is_inferred_from_the_test_rows(write) -> None:
    train, test = write("a.csv", "text,label\n,ham\n"), write("b.csv", csv_of(ROWS))
    with pytest.raises(DataError, match="No training row is left") as caught:
        Dataset(train=train, test=test, on_bad_row="skip", **COLUMNS).read()
    assert "a.csv, line 2" in caught.value.to_do
    with pytest.raises(DataError, match="No training row is left"):
        Dataset(train=train, on_bad_row="skip", **COLUMNS).read()
    with pytest.raises(DataError, match="No training row is left"):
        Dataset(train=test, test=test, labels=["eggs", "milk"], on_bad_row="skip", on_overlap="keep", **COLUMNS).read()


def test_every_row_may_have_its_own_choices(write) -> None:
    rows = [{"q": f"q{n}", "options": [f"a{n}", f"b{n}"], "a": f"b{n}"} for n in range(20)]
    keys = {"input": "q", "target": "a", "choices": "options"}
    loaded = Dataset(train=write("a.jsonl", rows), **keys).read()
    assert loaded.task.answer == Choice()
    assert all(e.question.choices[1] == e.answers[0] for e in loaded.train)
    with pytest.raises(DataError, match="'c' is not among the row's own choices"):
        Dataset(test=write("b.jsonl", [{"q": "q", "options": '["a", "b"]', "a": "c"}]), **keys).read()


def test_groups_tags_and_gold(write) -> None:
    rows = [{**row, "who": f"w{n % 9}", "long": n > 5, "gold": ["p1"]} for n, row in enumerate(ROWS)]
    keys = {"group": "who", "tags": ["long"], "gold": "gold", **COLUMNS}
    corpus = write("corpus.jsonl", [{"id": "p1", "text": "one"}, {"id": "p2", "text": "two"}])
    loaded = Dataset(train=write("a.jsonl", rows), corpus=corpus, **keys).read()
    assert [p.id for p in loaded.corpus] == ["p1", "p2"]
    assert loaded.accounts.as_dict()["read"] == 42
    assert loaded.test[0].gold == ("p1",)
    assert loaded.test[0].question.tags["long"] in ("true", "false")
    assert not {e.question.group for e in loaded.test} & {e.question.group for e in loaded.train}
    rows[3]["gold"] = "p3"
    with pytest.raises(DataError, match="gold passage 'p3' is not in the corpus") as caught:
        Dataset(train=write("a.jsonl", rows), corpus=corpus, **keys).read()
    assert caught.value.where == "a.jsonl, line 4"


def test_rows_out_of_scope_and_new_questions_need_no_answer(write) -> None:
    train, other = write("a.csv", csv_of(ROWS)), write("new.csv", "text\nwhat is this\nand this\n")
    loaded = Dataset(train=train, out_of_scope=other, **COLUMNS).read()
    assert [q.text for q in loaded.out_of_scope] == ["what is this", "and this"]
    assert loaded.accounts.as_dict()["read"] == 42
    asked = Dataset(train=train, id="id", **COLUMNS).new_questions(other)
    assert [q.text for q in asked.questions] == ["what is this", "and this"]
    assert len({q.id for q in asked.questions}) == 2
    assert asked.accounts.as_dict()["kept"] == 2


SLOTS = [
    {"text": "Table for two at 8", "slots": {"time": "8", "people": "two"}},
    {"text": "For 4", "slots": '{"people": "4"}'},
    {"text": "Größe", "slots": {"people": "ä", "when": [1, 2.5]}},
]


def test_a_json_task(write) -> None:
    no_split = {"split": {"test": 0, "validation": 0}, "input": "text", "target": "slots", "task": {"kind": "json"}}
    loaded = Dataset(train=write("a.jsonl", SLOTS), **no_split).read()
    assert [e.answers[0] for e in loaded.train] == [
        '{"time":"8","people":"two"}',
        '{"people":"4"}',
        '{"people":"ä","when":[1,2.5]}',
    ]
    assert loaded.task.answer == Json(
        {
            "type": "object",
            "properties": {
                "time": {"type": "string", "maxLength": 64},
                "people": {"type": "string", "maxLength": 64},
                "when": {"type": "array", "maxItems": 8, "items": {"type": "number"}},
            },
            "required": ["people"],
            "additionalProperties": False,
        }
    )
    test = write("b.jsonl", [{"text": "x", "slots": {"people": "1", "name": "Ann"}}])
    with pytest.raises(DataError, match=r"does not meet the schema at \$.*'name' was unexpected") as caught:
        Dataset(train="a.jsonl", test=test, **no_split).read()
    assert caught.value.where == "b.jsonl, line 1"
    with pytest.raises(DataError, match="slots is not JSON"):
        Dataset(train=write("c.jsonl", [{"text": "x", "slots": "{people: 4}"}]), **no_split).read()
    given = {**no_split, "task": {"kind": "json", "schema": {"type": "object", "required": ["time"]}}}
    with pytest.raises(DataError, match="'time' is a required property") as caught:
        Dataset(train="a.jsonl", **given).read()
    assert caught.value.where == "a.jsonl, line 2"
    with pytest.raises(ConfigError, match="no JSON schema"):
        Dataset(train="a.jsonl", **{**no_split, "task": {"kind": "json", "schema": {"type": "text"}}}).read()


@pytest.mark.parametrize(
    ("keys", "faults"),
    [
        ({}, ["train", "input", "target"]),
        ({"train": "a", **COLUMNS, "task": {"knd": "text"}}, ["task.knd"]),
        ({"train": "a", **COLUMNS, "task": {"kind": "number"}}, ["task.kind"]),
        ({"train": "a", **COLUMNS, "task": {"schema": {}}}, ["task.schema"]),
        ({"train": "a", **COLUMNS, "split": {"test": 2, "tset": 1}}, ["split.tset"]),
        ({"train": "a", **COLUMNS, "split": {"test": 2, "validation": -1}}, ["split.test", "split.validation"]),
        ({"train": "a", **COLUMNS, "split": {"test": 0.5, "validation": 0.5}}, ["split"]),
        ({"train": "a", **COLUMNS, "layout": "alpacca"}, ["layout", "input", "target"]),
        ({"train": "a", "layout": "alpaca", "input": "x"}, ["input"]),
        ({"train": "a", "layout": "alpaca", "labels": ["a", "b"]}, ["labels"]),
        ({"train": "a", **COLUMNS, "labels": ["a"]}, ["labels"]),
        ({"train": "a", **COLUMNS, "labels": [True, False]}, ["labels"]),
        ({"train": "a", **COLUMNS, "labels": ["a", "b"], "choices": "c"}, ["choices"]),
        ({"train": "a", "input": "{text", "target": "t"}, ["input"]),
        ({"train": "a", "input": "{} {text!r}", "target": "t"}, ["input"]),
        ({"train": "a", "input": "{text} {label!r}", "target": "t"}, ["input"]),
        ({"train": "a", "input": "{text} {label:>3}", "target": "t"}, ["input"]),
        ({"train": "a", **COLUMNS, "split": {"test": "abc", "validation": True}}, ["split.test", "split.validation"]),
        ({"train": "a", **COLUMNS, "split": 0.3, "task": "choice"}, ["task", "split"]),
        ({"train": "a", **COLUMNS, "task": {"instruction": 5, "schema": "x"}}, ["task.instruction", "task.schema"]),
        ({"train": "a", **COLUMNS, "quote": " "}, ["quote"]),
        ({"train": "a", **COLUMNS, "quote": "\n"}, ["quote"]),
        ({"train": "a", **COLUMNS, "quote": "\t"}, ["quote"]),
        ({"train": "a", **COLUMNS, "quote": ","}, ["quote"]),
        ({"train": "a", **COLUMNS, "quote": 5}, ["quote"]),
        (
            {"train": "a", **COLUMNS, "quote": "''", "header": ["a", "a"], "limit": 0, "tags": "t"},
            ["header", "quote", "limit", "tags"],
        ),
        ({"train": "a", **COLUMNS, "on_bad_row": "skp", "on_overlap": "take"}, ["on_bad_row", "on_overlap"]),
    ],
)
def test_faults_of_the_keys_are_reported_together(keys: dict, faults: list[str]) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError) as caught:
        Dataset(**keys)
    assert sorted(fault.key for fault in caught.value.faults) == sorted(faults)
    assert all(fault.what and fault.to_do for fault in caught.value.faults)


def test_toy_rows_are_deterministic_and_their_labels_separable_by_words() -> None:
    one, again = (Dataset(train="toy", source=Toy(), **COLUMNS).read() for _ in range(2))
    assert one == again
    assert len(one.train) + len(one.validation) + len(one.test) == 120
    words: dict[str, set[str]] = {}
    for example in one.train:
        words.setdefault(example.answers[0], set()).update(example.question.text.lower().rstrip("?.").split())
    right = 0
    for example in one.test:
        asked = set(example.question.text.lower().rstrip("?.").split())
        own = {label: len(asked & words[label]) for label in words}
        right += max(own, key=own.__getitem__) == example.answers[0]
    assert right / len(one.test) > 0.7


def test_the_file_option_has_the_constructor_s_defaults() -> None:
    node = yaml.safe_load((Path(__file__).parents[2] / "conf" / "dataset" / "file.yaml").read_text(encoding="utf-8"))
    defaults = {name: field.default for name, field in Dataset.__dataclass_fields__.items()}
    assert set(node) - {"_target_"} == set(defaults)
    assert TaskSpec(**node.pop("task")) == defaults["task"]
    assert Split(**node.pop("split")) == defaults["split"]
    assert node.pop("source") == {"_target_": "stepladder.dataset.Files"}
    node.pop("_target_")
    assert {key: tuple(v) if isinstance(v, list) else v for key, v in node.items()} == {
        key: defaults[key] for key in node
    }


def test_json_answers_have_the_schemas_key_order(write) -> None:
    """Training and constrained decoding must use the same order of keys."""
    rows = [
        {"text": "one", "label": {"time": "5", "people": [{"a": 1, "b": 2}]}},
        {"text": "two", "label": {"people": [{"b": 3, "a": 4}], "date": "today", "time": "6"}},
    ]
    task = {"kind": "json"}
    loaded = Dataset(train=write("a.jsonl", rows), split={"test": 0, "validation": 0}, task=task, **COLUMNS).read()
    answers = {example.question.text: example.answers[0] for example in loaded.train}
    assert answers["one"] == '{"time":"5","people":[{"a":1,"b":2}]}'
    assert answers["two"] == '{"time":"6","people":[{"a":4,"b":3}],"date":"today"}'
