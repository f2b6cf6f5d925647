"""Inputs that users of comparable tools met with wrong or confusing results, one command each, with the right result.

The other modules of this directory vary each kind; here each has its command, as a user types it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main

CSV = ("tracking=none", "dataset=file", "dataset.input=text", "dataset.target=label", "method=linear")
HUB = ("tracking=none", "dataset=hub", "dataset.input=text", "dataset.target=label", "method=linear")
TEXT = ("tracking=none", "dataset=file", "dataset.input=q", "dataset.target=a", "dataset.task.kind=text")
TURNS = ("tracking=none", "dataset=file", "dataset.layout=messages", "model=toy", "method=zero_shot")
SQUAD = (*TURNS[:2], "dataset.layout=squad", *TURNS[3:], "dataset.train=squad.json")

SPAM, HAM = ("win", "cash", "prize", "claim"), ("meet", "supper", "garden", "tram")


def rows(spam: tuple[str, ...] = ("spam",), ham: tuple[str, ...] = ("ham",), begin: str = "") -> list[dict[str, str]]:
    """Forty rows whose words tell spam from ham, with the spellings of each label in turn."""
    found = []
    for n in range(40):
        words, labels = (SPAM, spam) if n % 2 else (HAM, ham)
        text = f"{begin}{words[n // 2 % 4]} {words[(n // 2 + 1) % 4]} note {n}"
        found.append({"text": text, "label": labels[n // 2 % len(labels)]})
    return found


def csv(table: Iterable[Mapping[str, str]], delimiter: str = ",") -> str:
    return "".join(f"{row['text']}{delimiter}{row['label']}\n" for row in [{"text": "text", "label": "label"}, *table])


def jsonl(table: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in table)


def talk(*turns: Mapping[str, Any], column: str = "messages") -> str:
    return jsonl({column: [{"role": "user", "content": f"How is day {n}?"}, *turns]} for n in range(12))


CALL = {"tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}
FINE = {"role": "assistant", "content": "It is fine."}
AGAIN = {"role": "user", "content": "And after it?"}
LINES = ("春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少")


def write_files(folder: Path) -> None:
    """All inputs of the table."""
    texts = {
        "plain.csv": csv(rows()),
        "bare.csv": csv(rows()).partition("\n")[2],
        "space.csv": csv(rows(("spam", "spam "), ("ham", " ham"))),
        "case.csv": csv(rows(("Spam", "spam"))),
        "numbers.csv": csv(rows(("1", "1.0", "01"), ("0",))),
        "semicolon.csv": csv(rows(), ";"),
        "trailing.csv": csv(rows()).replace("\n", ",,\n"),
        "array.jsonl": json.dumps(rows(), indent=1),
        "zero/train.csv": csv(rows(("01",), ("02",))),
        "zero/test.csv": csv(rows(("01",), ("02",), "other ")),
        "none/train.csv": csv(rows(("None",), ("NA",))),
        "none/test.csv": csv(rows(("None",), ("NA",), "other ")),
        "call.jsonl": talk({"role": "assistant", "content": "Let me look.", **CALL}),
        "called.jsonl": talk({"role": "assistant", "content": None, **CALL}, AGAIN, FINE),
        "weight.jsonl": talk({**FINE, "weight": 0}),
        "poem.jsonl": jsonl({"q": f"谁写了{LINES[n % 4]} {n}", "a": f"人{n}", "gold": f"p{n % 4}"} for n in range(16)),
        "poems.jsonl": jsonl({"id": f"p{n}", "text": f"唐诗{line}很美"} for n, line in enumerate(LINES)),
        "marks.jsonl": jsonl({"q": "?" * (n + 1), "a": f"a {n}"} for n in range(16)),
        "stopwords.jsonl": jsonl([{"id": "a", "text": "of the and"}, {"id": "b", "text": "?? !!"}]),
        "russian.jsonl": jsonl({"q": f"город номер {n}", "a": "старый Город"} for n in range(16)),
        "composed.csv": csv(rows(begin="\u00e9 ")),
        "decomposed.csv": csv(rows(begin="e\u0301 ")[:10]),
        "pairs.jsonl": jsonl(
            {"premise": row["text"], "hypothesis": None if n % 8 == 0 else "so it is", "label": row["label"]}
            for n, row in enumerate(rows())
        ),
        "list.csv": "q,a\n" + "".join(f'capital {n}?,"[""Oslo{n}"", ""Kristiania{n}""]"\n' for n in range(16)),
        "named.jsonl": talk(FINE, column="conversation"),
        "prompted.jsonl": jsonl({"prompt": f"Count to {n}", "completion": f"I count to {n}."} for n in range(12)),
        "squad.json": json.dumps({"version": "v2.0", "data": articles()}),
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "utf16.csv").write_bytes(csv(rows()).encode("utf-16-le"))
    (folder / "rows.csv.gz").write_bytes(gzip.compress(csv(rows()).encode()))
    (folder / "parts").mkdir()
    for part, some in (("a", rows()[:20]), ("b", rows()[20:])):
        (folder / "parts" / f"{part}.csv").write_text(csv(some), encoding="utf-8")
    write_experiments(folder / "mine" / "experiment")


def articles() -> list[dict[str, Any]]:
    """Fifteen articles of two questions each, the first of them without an answer."""
    found = []
    for n in range(15):
        asked = [
            {"id": f"{n}-0", "question": f"Which bird is number {n}?", "answers": [], "is_impossible": True},
            {"id": f"{n}-1", "question": f"Which tree is number {n}?", "answers": [{"text": f"oak{n}"}]},
        ]
        found.append({"title": f"Tree {n}", "paragraphs": [{"context": f"oak{n} stands here", "qas": asked}]})
    return found


def write_experiments(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, text in {
        "unmarked.yaml": "defaults:\n- override /dataset: toy\n",
        "slashless.yaml": "# @package _global_\ndefaults:\n- override dataset: toy\n",
        "unknown.yaml": "# @package _global_\ndefaults:\n- override /dataset: tyo\n",
        "short.yml": "# @package _global_\nseed: 1\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_files(folder)
    return folder


@dataclass(frozen=True)
class Case:
    """A command, its exit code, and what stands in its output; `never`: what does not."""

    name: str
    words: tuple[str, ...]
    says: tuple[str, ...]
    code: int = 0
    never: str = "Traceback"


def good(name: str, *words: str, says: Iterable[str], never: str = "Traceback") -> Case:
    return Case(name, words, tuple(says), 0, never)


def bad(name: str, *words: str, says: Iterable[str], never: str = "Traceback") -> Case:
    return Case(name, words, tuple(says), 2, never)


MINE = ("--config-dir", "mine")
CASES = [
    good("1 space", "run", *CSV, "dataset.train=space.csv", says=["classification.accuracy: 1.0000"]),
    good("1 case", "check", *CSV, "dataset.train=case.csv", says=["'Spam' (10), 'spam' (10) differ only in case"]),
    good("2 zeros", "check", *HUB, "dataset.source.repo=zero", says=["'01' ", "'02' "]),
    good("2 none", "check", *HUB, "dataset.source.repo=none", says=["'None' ", "'NA' "]),
    bad("3 call", "check", *TURNS, "dataset.train=call.jsonl", says=["calls a tool", "call.jsonl, line 1"]),
    bad("3 called", "check", *TURNS, "dataset.train=called.jsonl", says=["turn 2 of messages calls a tool"]),
    bad("3 weight", "check", *TURNS, "dataset.train=weight.jsonl", says=["excluded from training (weight: 0)"]),
    good(
        "4 chinese", "run", *TEXT, "dataset.gold=gold", "model=toy", "method=rag", "retrieval.k=1", "evaluation=[rag]",
        "dataset.train=poem.jsonl", "dataset.corpus=poems.jsonl", "decoding.max_new_tokens=2",
        says=["rag.recall@1: 1.0000"], never="retrieve no passage",
    ),
    good(
        "4 stopwords", "run", *TEXT, "model=toy", "method=rag", "dataset.train=marks.jsonl",
        "dataset.corpus=stopwords.jsonl", "decoding.max_new_tokens=2", says=["questions retrieve no passage"],
    ),
    good("5 russian", "run", *TEXT, "method=linear", "dataset.train=russian.jsonl", says=["answers.rouge_l: 1.0000"]),
    bad("6 column", "check", *CSV, "dataset.train=types.parquet", "dataset.target=labels", says=["mean 'label'?"]),
    good(
        "6 map", "check", *CSV, "dataset.train=types.parquet", "dataset.target=pairs", "dataset.task.kind=json",
        says=["40 read, 40 kept"],
    ),
    bad(
        "10 forms", "check", *CSV, "dataset.train=composed.csv", "dataset.test=decomposed.csv",
        "dataset.on_overlap=stop", says=["10 have the same question as a held-out row"],
    ),
    good(
        "11 pairs", "check", "tracking=none", "dataset=file", "dataset.input='{premise} -> {hypothesis}'",
        "dataset.target=label", "method=linear", "dataset.train=pairs.jsonl",
        says=["5 rows: a part of the input is empty: hypothesis"],
    ),
    good("12 list", "check", *TEXT, "method=linear", "dataset.train=list.csv", says=["16 rows: a is a JSON list"]),
    bad(
        "13 header", "check", *CSV, "dataset.train=plain.csv", "dataset.header=[text,label]",
        says=["The first line is the header you name", "plain.csv, line 1"],
    ),
    good("13 bare", "check", *CSV, "dataset.train=bare.csv", "dataset.header=[text,label]", says=["rows: 40 read, 40"]),
    good("14 numbers", "check", *CSV, "dataset.train=numbers.csv", says=["'01' (6), '1' (7), '1.0' (7) are the same"]),
    good("15 semicolon", "check", *CSV, "dataset.train=semicolon.csv", says=["delimiter ';'", "40 read, 40 kept"]),
    good("15 utf-16", "check", *CSV, "dataset.train=utf16.csv", says=["encoding utf-16-le", "40 read, 40 kept"]),
    good("15 trailing", "check", *CSV, "dataset.train=trailing.csv", says=["2 unnamed empty columns dropped"]),
    good("16 array", "check", *CSV, "dataset.train=array.jsonl", says=["one JSON document", "40 read, 40 kept"]),
    good("16 glob", "check", *CSV, "dataset.train=parts/*.csv", says=["40 read, 40 kept", "parts/b.csv: csv, 20 rows"]),
    good("16 files", "check", *CSV, "dataset.train=[parts/a.csv,parts/b.csv]", says=["40 read, 40 kept"]),
    good("16 gzip", "check", *CSV, "dataset.train=rows.csv.gz", says=["40 read, 40 kept"]),
    bad("17 refused", "check", *SQUAD, says=["dataset.unanswerable=TEXT keeps such"]),
    good("17 kept", "check", *SQUAD, "dataset.unanswerable=none", says=["30 read, 30 kept"]),
    bad("18 no column", "check", *TURNS, "dataset.train=named.jsonl", says=["set the column of turns with dataset.me"]),
    good(
        "18 named", "check", *TURNS, "dataset.train=named.jsonl", "dataset.messages=conversation",
        says=["12 read, 12 kept"],
    ),
    good(
        "18 prompts", "check", *TURNS[:2], "dataset.layout=prompt_completion", *TURNS[3:],
        "dataset.train=prompted.jsonl", says=["12 read, 12 kept"],
    ),
    *(
        bad(f"19 {word[:20]}", "check", *CSV, "dataset.train=plain.csv", word, says=[says])
        for word, says in [
            ("dataset.task.instruction=Is it spam, or not?", "\"dataset.task.instruction='Is it spam, or not?'\""),
            ("evaluation=calibration,slices", "write evaluation=[calibration,slices]"),
            ("dataset.input=0", "as a text: \"dataset.input='0'\""),
            ("dataset.labels=[1,2]", "as texts: \"dataset.labels=['1','2']\""),
            ("~dataset.id", "dataset.id is null already"),
            ("dataset.task.instruction=Pay ${amount}", r"Pay \${amount}"),
            ("dataset.split={test: 0.2, validaton: 0.1}", "did you mean 'validation'?"),
        ]
    ),
    bad("20 unmarked", "show", "experiment=unmarked", *MINE, says=["unmarked.yaml, line 1", "# @package _global_"]),
    bad("20 slash", "show", "experiment=slashless", *MINE, says=["slashless.yaml, line 3", "override /dataset: toy"]),
    bad("20 option", "show", "experiment=unknown", *MINE, says=["unknown.yaml, line 3", "mean 'toy'?"], never="hydra"),
    bad("20 .yml", "show", "experiment=short", *MINE, says=["short.yml", "short.yaml"]),
]  # fmt: skip


@pytest.fixture(scope="module")
def here(files: Path) -> Path:
    """The inputs, with a parquet file of several types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = rows()
    columns = {
        "text": pa.array([row["text"] for row in table]),
        "label": pa.array([row["label"] for row in table]).dictionary_encode(),
        "pairs": pa.array([[("a", n % 2)] for n in range(40)], pa.map_(pa.string(), pa.int64())),
    }
    pq.write_table(pa.table(columns), files / "types.parquet")
    return files


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_command_gives_the_right_result(
    case: Case, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    code = main(list(case.words))
    said = "".join(capsys.readouterr())
    assert (code, [part for part in case.says if part not in said]) == (case.code, []), said
    assert case.never not in said


def test_a_saved_experiment_gives_way_to_the_command_line(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    assert main(["show", "experiment=first_look", "method=finetune", "adapter=full"]) == 0
    saved = Path("mine/experiment/saved.yaml")
    saved.write_text(capsys.readouterr().out, encoding="utf-8")
    assert main(["show", "experiment=saved", "method=linear", *MINE]) == 0
    assert "- override /method: linear" in capsys.readouterr().out
    words = ["experiment=saved", "method=majority,linear", *MINE, "--json"]
    assert main(["compare", *words]) == 0
    compared = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"] for row in compared] == ["majority", "linear"]
    assert {row["costs"]["training_tokens"] for row in compared} == {0}
    assert len({row["keys"]["fit"] for row in compared}) == 2


def test_new_questions_are_answered_in_a_table_of_their_own_columns(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    assert main(["run", *CSV, "dataset.train=plain.csv", "--json"]) == 0
    fit = json.loads(capsys.readouterr().out)["folders"]["fit"]
    Path("new.csv").write_text("text,page\nwin cash,4\nmeet garden,7\n", encoding="utf-8")
    assert main(["predict", fit, "new.csv", "--to", "answers.csv"]) == 0
    lines = Path("answers.csv").read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("text,page,id,answer,confidence")
    assert [line.split(",")[:2] for line in lines[1:]] == [["win cash", "4"], ["meet garden", "7"]]
    assert [line.split(",")[3] for line in lines[1:]] == ["spam", "ham"]
