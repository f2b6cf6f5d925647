"""Each layout extracts question, history, system text and answer from the file."""

from __future__ import annotations

import json

import pytest

from stepladder.dataset.dataset import Dataset
from stepladder.errors import DataError
from stepladder.types import Message


def first(write, rows: list[dict], **keys):  # type: ignore[no-untyped-def,type-arg]
    return Dataset(test=write("rows.jsonl", rows), **{"task": {"kind": "text"}, **keys}).read().test[0]


def test_columns_and_templates(write) -> None:
    rows = [{"text": "A table", "asked": ["time", "people"], "note": None, "answer": 7}]
    example = first(write, rows, input="{{{text}}}: {asked}, {note}", target="answer")
    assert example.question.text == "{A table}: time, people, "
    assert example.answers == ("7",)


def test_a_list_of_texts_is_several_accepted_answers(write) -> None:
    example = first(write, [{"q": "Who?", "a": ["Ann", "Ann Lee", "Ann", ""]}], input="q", target="a")
    assert example.answers == ("Ann", "Ann Lee")


def test_alpaca(write) -> None:
    row = {
        "instruction": "Add.",
        "input": "1 and 2",
        "output": "3",
        "system": "Be short.",
        "history": [["Hi", "Hello"]],
    }
    example = first(write, [row], layout="alpaca")
    assert example.question.text == "Add.\n\n1 and 2"
    assert example.question.system == "Be short."
    assert example.question.history == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert example.answers == ("3",)
    assert (
        first(write, [{"instruction": "Sing.", "input": "", "output": "La"}], layout="alpaca").question.text == "Sing."
    )


TURNS = [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Who are you?"), ("assistant", "Me")]
OLD_NAMES = {"system": "system", "user": "human", "assistant": "gpt"}


@pytest.mark.parametrize(
    ("layout", "row"),
    [
        ("messages", {"messages": [{"role": r, "content": c} for r, c in TURNS]}),
        ("messages", {"messages": json.dumps([{"role": r, "content": c} for r, c in TURNS])}),
        ("messages", {"messages": [{"role": r, "content": [{"type": "text", "text": c}]} for r, c in TURNS]}),
        ("sharegpt", {"conversations": [{"from": OLD_NAMES[r], "value": c} for r, c in TURNS]}),
        (
            "sharegpt",
            {"system": "Be kind.", "conversations": [{"from": OLD_NAMES[r], "value": c} for r, c in TURNS[1:]]},
        ),
    ],
)
def test_conversations(write, layout: str, row: dict) -> None:  # type: ignore[type-arg]
    example = first(write, [row], layout=layout)
    assert example.question.text == "Who are you?"
    assert example.question.history == (Message("user", "Hi"), Message("assistant", "Hello"))
    assert example.question.system == "Be kind."
    assert example.answers == ("Me",)


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("user", "Hi")], "the target is empty"),
        ([("assistant", "Hi")], "no user turn"),
        ([("user", "Hi"), ("tool", "{}"), ("assistant", "x")], "turn 2 of messages has the role 'tool'"),
        ([("user", "Hi"), ("system", "x"), ("user", "y"), ("assistant", "z")], "system turn is in the middle"),
        ([("user", " "), ("assistant", "x")], "the question is empty"),
        ([], "no user turn"),
    ],
)
def test_conversations_that_cannot_be_used(write, turns: list, reason: str) -> None:  # type: ignore[type-arg]
    row = {"messages": [{"role": r, "content": c} for r, c in turns]}
    with pytest.raises(DataError, match=reason):
        first(write, [row], layout="messages")


def article(title: str, *paragraphs: tuple[str, list[str]]) -> dict:  # type: ignore[type-arg]
    def asked(question: str) -> dict:  # type: ignore[type-arg]
        return {"id": question, "question": question, "answers": [{"text": "yes", "answer_start": 0}] * 2}

    return {"title": title, "paragraphs": [{"context": c, "qas": [asked(q) for q in qs]} for c, qs in paragraphs]}


def test_squad_articles_give_questions_groups_and_all_paragraphs(write) -> None:
    articles = [article(f"t{n}", (f"one {n}", [f"q{n}a", f"q{n}b"]), (f"two {n}", [f"q{n}c"])) for n in range(8)]
    articles.append(article("lonely", ("a paragraph without questions", [])))
    dataset = Dataset(train=write("a.json", json.dumps({"data": articles})), layout="squad", id="id")
    loaded = dataset.read()
    assert dataset.kind == "text"
    assert loaded.accounts.as_dict()["read"] == 24
    assert len(loaded.corpus) == 17
    texts = {passage.id: passage.text for passage in loaded.corpus}
    for part in (loaded.train, loaded.validation, loaded.test):
        for example in part:
            assert example.answers == ("yes",)
            number = example.question.group.removeprefix("t")
            assert texts[example.gold[0]] == f"{'two' if example.question.id.endswith('c') else 'one'} {number}"
    groups = [{e.question.group for e in part} for part in (loaded.train, loaded.validation, loaded.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 8


def test_squad_rows_of_the_hub(write) -> None:
    row = {
        "id": "1",
        "title": "T",
        "context": "C",
        "question": "Q",
        "answers": {"text": ["A", "B"], "answer_start": [0, 1]},
    }
    loaded = Dataset(test=write("a.jsonl", [row]), layout="squad", id="id").read()
    assert loaded.test[0].answers == ("A", "B")
    assert loaded.test[0].gold == (loaded.corpus[0].id,)
    assert loaded.test[0].question.group == "T"


def test_a_malformed_squad_article_is_a_bad_row(write) -> None:
    articles = [article("t", ("c", ["q"])), {"title": "u", "paragraphs": "none"}]
    path = write("a.json", json.dumps({"data": articles}))
    with pytest.raises(DataError, match="1 bad row of 2 read"):
        Dataset(test=path, layout="squad").read()


def test_a_squad_answer_that_is_one_text_is_one_answer(write) -> None:
    row = {"context": "C", "question": "Q", "answers": {"text": "Denver Broncos"}}
    assert first(write, [row], layout="squad").answers == ("Denver Broncos",)


@pytest.mark.parametrize("answers", [{"text": 5}, {"text": [5]}, [{"text": 5}]])
def test_a_squad_answer_that_is_not_text_is_a_bad_row(write, answers) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"A bad row: .*(not text|neither a list)") as caught:
        first(write, [{"context": "C", "question": "Q", "answers": answers}], layout="squad")
    assert caught.value.where == "rows.jsonl, line 1"


@pytest.mark.parametrize("history", [[["a"]], [["a", "b", "c"]], [[]], "[" * 5000, "9" * 5000])
def test_an_alpaca_history_that_is_not_pairs_is_a_bad_row(write, history) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"A bad row: .*history") as caught:
        first(write, [{"instruction": "Add.", "output": "3", "history": history}], layout="alpaca")
    assert caught.value.where == "rows.jsonl, line 1"
