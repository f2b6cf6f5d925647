"""Files and texts of many kinds through the command line: the right value, or a message that says what to type."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CSV = ("tracking=none", "dataset=file", "dataset.input=text", "dataset.target=label", "method=linear")
TEXT = ("tracking=none", "dataset=file", "dataset.input=q", "dataset.target=a", "dataset.task.kind=text")
ROWS = [(f"win cash prize {n}" if n % 2 else f"meet at home {n}", "spam" if n % 2 else "ham") for n in range(40)]
LINES = [f"{text},{label}" for text, label in ROWS]
PLAIN = "\n".join(["text,label", *LINES]) + "\n"
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "fact"),
    [
        (
            "semicolon.csv",
            PLAIN.replace(",", ";").encode(),
            "semicolon.csv: csv, 40 rows, delimiter ';', encoding utf-8",
        ),
        ("le.csv", PLAIN.encode("utf-16-le"), "encoding utf-16-le"),
        ("trailing.csv", PLAIN.replace("\n", ",,\n").encode() + b",,,\n", "2 unnamed empty columns dropped"),
        ("array.jsonl", json.dumps(OBJECTS, indent=1).encode(), "one JSON document"),
        ("rows.csv.gz", gzip.compress(PLAIN.encode()), "rows.csv.gz: csv, 40 rows"),
    ],
)
def test_a_file_is_read_as_it_is(stepladder: Callable, here: Path, name: str, content: bytes, fact: str) -> None:
    (here / name).write_bytes(content)
    done = stepladder("check", *CSV, f"dataset.train={name}")
    assert done.code == 0, done.err
    assert "rows: 40 read, 40 kept, 0 rejected" in done.out
    assert fact in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset.train=rows.csv", "dataset.header=[text,label]"], "The first line is the header you name"),
        (["dataset.train=bare.csv"], "if the file has no header line, name its 2 columns in their order"),
        (["dataset.train=x*.csv"], "No file matches x*.csv"),
        (["dataset.train=[rows.csv,rows.csv]"], "rows.csv is named twice"),
        (["dataset.train=rows.csv", "dataset.delimiter=pipe"], "set it with dataset.delimiter"),
    ],
)
def test_what_can_not_be_read_says_what_to_type(stepladder: Callable, here: Path, words: list[str], says: str) -> None:
    (here / "rows.csv").write_text(PLAIN, encoding="utf-8")
    (here / "bare.csv").write_text("\n".join(LINES), encoding="utf-8")
    done = stepladder("check", *CSV, *words)
    assert done.code == 2
    assert says in done.err


@pytest.mark.parametrize("named", ["parts/*.csv", "[parts/a.csv,parts/b.csv]"])
def test_several_files_are_one_table(stepladder: Callable, here: Path, named: str) -> None:
    (here / "parts").mkdir()
    for part, lines in (("a", LINES[:30]), ("b", [*LINES[30:], ",spam"])):
        (here / "parts" / f"{part}.csv").write_text("\n".join(["text,label", *lines]) + "\n", encoding="utf-8")
    done = stepladder("check", *CSV, f"dataset.train={named}")
    assert done.code == 2
    assert "parts/b.csv, line 12" in done.err
    done = stepladder("run", *CSV, f"dataset.train={named}", "dataset.on_bad_row=skip", "--json")
    assert done.accuracy() == 1.0
    assert done.json["rows"]["files"]["parts/a.csv"] == {"read": 30, "kept": 30, "rejected": 0}


@pytest.mark.parametrize("labels", [("01", "02"), ("None", "ok"), ("NA", "null"), ("true", "2020-01-01")])
def test_a_hub_folder_keeps_the_text_of_its_files(stepladder: Callable, here: Path, labels: tuple[str, str]) -> None:
    kind = "jsonl" if "true" in labels else "csv"
    (here / "repo").mkdir()
    for split, count in (("train", 40), ("test", 10)):
        rows = [{"text": f"{ROWS[n][0]} {split}", "label": labels[n % 2]} for n in range(count)]
        lines = "".join(f"{row['text']},{row['label']}\n" for row in rows)
        content = "text,label\n" + lines if kind == "csv" else jsonl(rows)
        (here / "repo" / f"{split}.{kind}").write_text(content, encoding="utf-8")
    hub = [*CSV[:1], "dataset=hub", *CSV[2:], "dataset.source.repo=repo"]
    done = stepladder("check", *hub)
    assert done.code == 0, done.err
    assert all(f"'{label}' " in done.out for label in labels)
    assert f"file: repo/train.{kind}: {kind}, 40 rows" in done.out
    part = stepladder("check", *hub, "dataset.train='train[:50%]'")
    assert "rows: 30 read" in part.out


def test_a_hub_names_the_cause_the_column_and_the_value(stepladder: Callable, here: Path) -> None:
    (here / "repo").mkdir()
    (here / "repo" / "train.csv").write_text('text,label\n"never closed,a\n', encoding="utf-8")
    hub = ["tracking=none", "dataset=hub", "dataset.input=text", "dataset.target=label", "method=linear"]
    done = stepladder("check", *hub, "dataset.source.repo=repo", "dataset.test=null")
    assert done.code == 2
    assert "A quote is not closed" in done.err
    assert "repo/train.csv, line 2" in done.err
    done = stepladder("check", *hub, "dataset.source.repo=repo", "dataset.train=trian", "dataset.test=null")
    assert done.code == 2
    assert "there is no such split; did you mean 'train'?" in done.err


def test_retrieval_finds_passages_of_a_script_without_spaces(stepladder: Callable, here: Path) -> None:
    passages = ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"]
    corpus = [{"id": f"p{n}", "text": f"古诗说{text}这是名句"} for n, text in enumerate(passages)]
    rows = [{"q": f"请问{passages[n % 4]}是谁写的{n}", "a": f"x{n}", "gold": f"p{n % 4}"} for n in range(16)]
    (here / "corpus.jsonl").write_text(jsonl(corpus), encoding="utf-8")
    (here / "rows.jsonl").write_text(jsonl(rows), encoding="utf-8")
    done = stepladder(
        "run", *TEXT, "dataset.gold=gold", "model=toy", "method=rag", "retrieval.k=1", "evaluation=[rag]",
        "dataset.train=rows.jsonl", "dataset.corpus=corpus.jsonl", "--json",
    )  # fmt: skip
    assert done.json["scores"]["rag"]["recall@1"]["value"] == 1.0
    assert "retrieve no passage" not in done.err


def test_questions_that_retrieve_nothing_are_counted(stepladder: Callable, here: Path) -> None:
    (here / "corpus.jsonl").write_text(jsonl([{"id": "a", "text": "the of and"}, {"id": "b", "text": "?!"}]))
    (here / "rows.jsonl").write_text(jsonl([{"q": f"who is {n}", "a": f"x{n}"} for n in range(20)]))
    command = ("run", *TEXT, "model=toy", "method=rag", "dataset.train=rows.jsonl", "dataset.corpus=corpus.jsonl")
    for _ in range(2):  # the second time the stored answers tell it
        done = stepladder(*command, "--json")
        asked = done.json["scores"]["answers"]["exact_match"]["n"]
        assert done.json["costs"]["questions_without_passage"] == asked
        assert f"{asked} of {asked} questions retrieve no passage" in done.err


def test_an_equal_answer_is_equal_in_another_script(stepladder: Callable, here: Path) -> None:
    rows = [{"q": f"question {n} words", "a": "Москва — столица России"} for n in range(20)]
    (here / "rows.jsonl").write_text(jsonl(rows), encoding="utf-8")
    done = stepladder("run", *TEXT, "method=linear", "dataset.train=rows.jsonl", "--json")
    scores = done.json["scores"]["answers"]
    assert [scores[name]["value"] for name in ("exact_match", "token_f1", "rouge_l", "chrf")] == [1.0] * 4


def squad(flat: bool) -> str:
    questions = [
        {
            "id": f"q{n}",
            "question": f"What is thing {n}?",
            "answers": [] if n % 3 == 0 else [{"text": f"thing {n}", "answer_start": 0}],
            "is_impossible": n % 3 == 0,
        }
        for n in range(30)
    ]
    context = "Things are numbered from one to thirty."
    if flat:
        return json.dumps([{**question, "title": question["id"], "context": context} for question in questions])
    articles = [{"title": q["id"], "paragraphs": [{"context": context, "qas": [q]}]} for q in questions]
    return json.dumps({"version": "v2.0", "data": articles})


@pytest.mark.parametrize("flat", [False, True])
def test_unanswerable_questions_are_kept_with_the_answer_of_choice(
    stepladder: Callable, here: Path, flat: bool
) -> None:
    (here / "squad.json").write_text(squad(flat), encoding="utf-8")
    words = ("check", "tracking=none", "dataset=file", "dataset.layout=squad", "method=linear")
    refused = stepladder(*words, "dataset.train=squad.json")
    assert refused.code == 2
    assert "dataset.unanswerable=TEXT keeps such questions" in refused.err
    kept = stepladder(*words, "dataset.train=squad.json", "dataset.unanswerable=unanswerable")
    assert "30 read, 30 kept" in kept.out


def turns(number: int, role: str = "role", content: str = "content") -> list[dict[str, str]]:
    return [{role: "user", content: f"hello {number}"}, {role: "assistant", content: f"hi {number}"}]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"chat": turns(n)} for n in range(30)], ["dataset.layout=messages", "dataset.messages=chat"]),
        ([{"chat": turns(n)} for n in range(30)], ["dataset.messages=chat"]),
        ([{"chat": json.dumps(turns(n))} for n in range(30)], ["dataset.messages=chat"]),
        (
            [{"dialog": turns(n, "from", "value")} for n in range(30)],
            ["dataset.layout=sharegpt", "dataset.messages=dialog"],
        ),
        (
            [{"prompt": f"hello {n}", "completion": f"hi {n}"} for n in range(30)],
            ["dataset.layout=prompt_completion"],
        ),
        (
            [{"prompt": turns(n)[:1], "completion": turns(n)[1:]} for n in range(30)],
            ["dataset.layout=prompt_completion"],
        ),
        (
            [{"prompt": turns(n)[:1], "completion": f"hi {n}"} for n in range(30)],
            ["dataset.layout=prompt_completion"],
        ),
        (
            [{"prompt": f"hello {n}", "completion": json.dumps(turns(n)[1:])} for n in range(30)],
            ["dataset.layout=prompt_completion"],
        ),
    ],
)
def test_conversations_in_columns_of_any_name(
    stepladder: Callable, here: Path, rows: list[dict[str, Any]], words: list[str]
) -> None:
    (here / "rows.jsonl").write_text(jsonl(rows), encoding="utf-8")
    done = stepladder(
        "run", "tracking=none", "dataset=file", "method=linear", "dataset.train=rows.jsonl", *words, "--json"
    )
    assert done.code == 0, done.err
    lines = (Path(done.json["folders"]["predict"]) / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert all(json.loads(line)["text"].startswith("hi ") for line in lines)


def test_a_missing_column_of_turns_names_the_key(stepladder: Callable, here: Path) -> None:
    (here / "rows.jsonl").write_text(jsonl([{"chat": turns(n)} for n in range(30)]), encoding="utf-8")
    words = ("check", "tracking=none", "dataset=file", "dataset.layout=messages", "method=linear")
    done = stepladder(*words, "dataset.train=rows.jsonl")
    assert done.code == 2
    assert "columns there: chat; set the column of turns with dataset.messages=COLUMN" in done.err


def test_a_file_of_ones_own_without_dataset_file(
    stepladder: Callable, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "rows.csv").write_text(PLAIN, encoding="utf-8")
    monkeypatch.setattr("stepladder.dataset.sources.fetch_package", lambda *_: here / "package")
    (here / "package").mkdir()
    done = stepladder("run", "dataset.train=rows.csv", "method=linear", "tracking=none")
    assert done.code == 2
    assert "has no file rows.csv" in done.err
    assert "add dataset=file dataset.input=COLUMN dataset.target=COLUMN" in done.err
