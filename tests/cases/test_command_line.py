"""The command line of the first hour: init, options, --limit, help, version, expected time, closed and broken pipes."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import yaml
from pyarrow import parquet

from stepladder.cli.arguments import VERBS, WIDTH

Command = Callable[..., Any]
OWN = ("dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label", "tracking=none")
ROWS = [{"text": f"I want to {verb} item {n}", "label": verb} for n in range(12) for verb in ("buy", "sell", "rent")]


def csv_of(rows: list[dict[str, str]], delimiter: str = ",") -> str:
    return "\n".join([delimiter.join(rows[0]), *(delimiter.join(row.values()) for row in rows), ""])


@pytest.fixture
def rows(here: Path) -> Path:
    Path("rows.csv").write_text(csv_of(ROWS), encoding="utf-8")
    return here


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_a_help_in_80_columns(stepladder: Command, verb: str) -> None:
    for words in ([verb, "--help"], ["help", verb], [verb, "seed=1", "-h"]):
        result = stepladder(*words)
        assert result.code == 0
        assert result.out.startswith(f"usage: stepladder {verb}")
        assert max(map(len, result.out.splitlines())) <= WIDTH
        assert "--json" in result.out
    assert stepladder(verb, "--help", "--json").json["help"].startswith("usage")
    assert verb in stepladder("--help").out


def test_the_version_is_that_of_the_package(stepladder: Command) -> None:
    assert re.fullmatch(r"stepladder \d+\.\d+\.\d+\S*\n", stepladder("--version").out)
    assert stepladder("--version", "--json").json == {"version": stepladder("--version").out.strip()}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--limti", "3"], "did you mean '--limit'?"),
        (["run", "--limit", "0"], "whole number from 1"),
        (["run", "--limit", "-3"], "--limit"),
        (["run", "--limit=1.5"], "whole number from 1"),
        (["run", "--limit"], "--limit"),
        (["list", "--fresh"], "it is a flag of run"),
        (["--json", "run"], "the verb comes first: stepladder run --json"),
        (["optoins"], "did you mean 'options'?"),
        (["options", "adaptor"], "did you mean 'adapter'?"),
        (["options", "lora"], "adapter=lora"),
        (["options", "a", "b"], "one group"),
        (["options", "--config-dir", "nowhere"], "nowhere"),
        (["init"], "takes FILE"),
        (["init", "nowhere.csv"], "nowhere.csv"),
        (["init", "here.txt"], "format"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(stepladder: Command, here: Path, words: list[str], told: str) -> None:
    Path("here.txt").write_text("x")
    result = stepladder(*words)
    assert result.code == 2
    assert told in result.err
    assert result.out == ""


def asked(result: Any) -> set[str]:
    assert result.code == 0, result.err
    file = Path(result.json["folders"]["predict"]) / "predictions.jsonl"
    return {json.loads(line)["question"] for line in file.read_text(encoding="utf-8").splitlines()}


def test_limit_asks_the_same_questions_of_all_and_fewer_are_a_part_of_more(stepladder: Command, rows: Path) -> None:
    few = asked(stepladder("run", "--limit", "3", *OWN, "method=linear", "--json"))
    more = stepladder("run", *OWN, "--limit", "5", "method=linear", "--json")
    assert len(few) == 3
    assert few < asked(more)
    assert more.json["reused"]["fit"]
    assert asked(stepladder("run", *OWN, "method=majority", "--json", "--limit=3")) == few
    everything = stepladder("run", *OWN, "--limit", "5000", "method=linear", "--json")
    assert len(asked(everything)) > 5
    assert asked(stepladder("run", *OWN, "method=linear", "--json")) == asked(everything)
    told = stepladder("compare", *OWN, "method=majority,linear", "--limit", "3", "--json")
    assert all(row["scores"]["classification"]["accuracy"]["n"] == 3 for row in told.json["rows"])
    assert told.err.count("test questions are used") == 1
    assert "--limit 3" in Path(told.json["report"]).read_text(encoding="utf-8")
    swept = stepladder("sweep", *OWN, "method=linear", "+method.words=choice(1,2)", "--limit", "3", "--json")
    assert swept.json["test"]["scores"]["classification"]["accuracy"]["n"] == 3
    assert yaml.safe_load(stepladder("show", *OWN, "--limit", "3").out)["dataset"]["questions"] == 3
    assert ", 3 questions\n" in stepladder("check", *OWN, "method=linear", "--limit", "3").out
    assert "--limit changes nothing" in stepladder("list", "--limit", "3").err


def test_options_lists_groups_options_and_keys_of_ones_own_conf_too(stepladder: Command, here: Path) -> None:
    own = here / "mine" / "adapter"
    own.mkdir(parents=True)
    (own / "wide.yaml").write_text("# A wide one. For tests.\ndefaults:\n  - lora\n  - _self_\nr: 64\n")
    (own / "broken.yaml").write_text("_target_: [")
    (here / "mine" / "house").mkdir()
    (here / "mine" / "house" / "one.yaml").write_text("a: {b: 1}\n")
    groups = {group["name"]: group for group in stepladder("options", "--config-dir", "mine", "--json").json["groups"]}
    assert {"adapter", "dataset", "sweep.sampler", "house"} <= groups.keys()
    assert all(group["description"] for name, group in groups.items() if name != "house")
    assert groups["adapter"]["default"] == "lora"
    options = {o["name"]: o for o in stepladder("options", "adapter", "--config-dir", "mine", "--json").json["options"]}
    assert options["wide"]["keys"]["adapter.r"] == 64
    assert options["wide"]["keys"]["adapter.lora_alpha"] == options["lora"]["keys"]["adapter.lora_alpha"]
    assert options["wide"]["description"] == "A wide one."
    assert options["broken"]["keys"] == {}
    for name in groups:
        result = stepladder("options", name, "--config-dir", "mine")
        assert result.code == 0
        assert max(map(len, result.out.splitlines())) <= WIDTH
    packaged = stepladder("options", "--json").json["groups"]
    assert [o["name"] for g in packaged for o in g["options"] if not o["description"]] == []
    keys = {o["name"]: o["keys"] for o in stepladder("options", "dataset", "--json").json["options"]}
    assert keys["sms_spam"]["dataset.input"] == "text"
    assert "dataset.split.test" in keys["sms_spam"]


def written(name: str) -> None:
    """The rows of these tests in a file of this name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    elif name.endswith(".json"):
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    elif "jsonl" in name or "ndjson" in name:
        path.write_text(lines, encoding="utf-8")
    else:
        path.write_text(csv_of(ROWS, "\t" if "tsv" in name else ","), encoding="utf-8")
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))


@pytest.mark.parametrize(
    "name",
    ["rows.csv", "a b/My Rows (1).csv", "rows.tsv", "2024.jsonl", "null.json", "rows.parquet", "größe.ndjson",
     "it's $5.csv", "first_look.csv"],
)  # fmt: skip
def test_the_commands_that_init_prints_work_as_printed(stepladder: Command, here: Path, name: str) -> None:
    written(name)
    told = stepladder("init", name, "--json")
    assert told.code == 0, told.err
    check = shlex.split(told.json["next"][0])
    assert check[:2] == ["stepladder", "check"]
    result = stepladder(*check[1:], "method=majority", "tracking=none", "--json")
    assert result.code == 0, result.err
    assert result.json["labels"] == 3
    assert result.json["rows"]["read"] == len(ROWS)
    again = stepladder("init", name)
    assert again.code == 2
    assert "not overwritten" in again.err


GUESSED = {
    "labels.csv": ("Category,Body\n" + "".join(f"{'xy'[n % 2]},a long text {n}\n" for n in range(20)),
                   {"input": "Body", "target": "Category", "task.kind": "choice"}),
    "text.jsonl": ("".join(json.dumps({"question": f"q {n}?", "answer": f"it is {n}"}) + "\n" for n in range(30)),
                   {"input": "question", "target": "answer", "task.kind": "text"}),
    "object.jsonl": ("".join(json.dumps({"text": f"t {n}", "slots": {"n": n}, "label": {"n": str(n)}}) + "\n"
                             for n in range(30)), {"input": "text", "target": "label", "task.kind": "json"}),
    "groups.csv": ("id,user_id,text,label\n" + "".join(f"{n},u{n % 5},text {n},{'ab'[n % 2]}\n" for n in range(30)),
                   {"id": "id", "group": "user_id", "input": "text", "target": "label"}),
    "pair.csv": ("premise,hypothesis,label\n" + "".join(f"p {n},h {n},{'ab'[n % 2]}\n" for n in range(20)),
                 {"input": "{premise} -> {hypothesis}"}),
    "no_header.csv": ("".join(f"some text {n},{'ham' if n % 2 else 'spam'}\n" for n in range(20)),
                      {"header": ["text", "label"], "input": "text", "target": "label"}),
    "unnamed.csv": ("eins,zwei\n" + "".join(f"{'AB'[n % 2]},Satz {n}\n" for n in range(20)),
                    {"input": "zwei", "target": "eins", "task.kind": "choice"}),
    "chat.jsonl": ("".join(json.dumps({"messages": [{"role": "user", "content": str(n)},
                                                    {"role": "assistant", "content": "yo"}]}) + "\n" for n in range(9)),
                   {"layout": "messages", "task.kind": "text"}),
    "talk.jsonl": ("".join(json.dumps({"topic": "x", "talk": [{"role": "user", "content": str(n)},
                                                              {"role": "assistant", "content": "yo"}]}) + "\n"
                           for n in range(9)), {"layout": "messages", "messages": "talk", "task.kind": "text"}),
    "turns.jsonl": ("".join(json.dumps({"talk": [{"from": "human", "value": str(n)}, {"from": "gpt", "value": "yo"}]})
                            + "\n" for n in range(9)), {"layout": "sharegpt", "messages": "talk"}),
    "bad.jsonl": ("".join(json.dumps(row) + "\n" for row in ROWS) + '{"text": "", "label": "buy"}\n',
                  {"on_bad_row": "skip"}),
}  # fmt: skip


@pytest.mark.parametrize("name", list(GUESSED))
def test_init_guesses_and_says_why(stepladder: Command, here: Path, name: str) -> None:
    content, wanted = GUESSED[name]
    Path(name).write_text(content, encoding="utf-8")
    told = stepladder("init", name, "--json", "--config-dir", "own")
    assert told.code == 0, told.err
    found = {guess["key"].removeprefix("dataset."): guess["value"] for guess in told.json["guesses"]}
    assert {key: found.get(key) for key in wanted} == wanted
    assert all(guess["why"] for guess in told.json["guesses"])
    text = Path(told.json["experiment"]).read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n")
    check = stepladder(*shlex.split(told.json["next"][0])[1:], "method=majority", "tracking=none")
    assert check.code == 0, check.err


def test_init_writes_nothing_for_a_file_without_an_answer(stepladder: Command, here: Path) -> None:
    Path("one.csv").write_text("note\n" + "".join(f"words {n}\n" for n in range(9)), encoding="utf-8")
    result = stepladder("init", "one.csv")
    assert result.code == 2
    assert "looks like the answer" in result.err
    assert not Path("conf").exists()


@pytest.mark.parametrize("method", ["linear", "zero_shot", "finetune"])
def test_check_measures_the_expected_time(stepladder: Command, rows: Path, method: str) -> None:
    words = (*OWN, "model=toy", "training=smoke", f"method={method}")
    time = stepladder("check", *words, "--json").json["expected_time"]
    assert time["seconds"] == pytest.approx(sum(time["parts"].values()), abs=0.1)
    assert {"start", "fit", "predict", "score"} <= time["parts"].keys()
    assert (time["parts"].get("training", 0) > 0) is (method == "finetune")
    assert any("answers" in basis for basis in time["measured"])
    assert not Path("outputs", "fits").exists()
    assert stepladder("run", *words).code == 0
    assert stepladder("check", *words, "--json").json["expected_time"]["parts"].keys() == {"start"}


def test_check_times_a_tracker_without_naming_its_temporary_directory(stepladder: Command, rows: Path) -> None:
    words = [word for word in OWN if not word.startswith("tracking")]
    result = stepladder("check", *words, "method=majority", "tracking=wandb", "tracking.mode=offline", "--json")
    assert result.code == 0, result.err
    assert "tracking" in result.json["expected_time"]["parts"]
    assert "wandb sync" not in result.err


def test_a_run_says_in_words_how_its_preflight_checks_ended(stepladder: Command, rows: Path) -> None:
    passed = stepladder("run", *OWN, "method=majority")
    assert "preflight: all 3 checks passed" in passed.out
    text = csv_of([*ROWS, {"text": "", "label": "buy"}])
    Path("rows.csv").write_text(text, encoding="utf-8")
    warned = stepladder("run", *OWN, "method=majority", "dataset.on_bad_row=skip", "--outputs", "other")
    assert "preflight: 2 of 3 checks passed\n  warning: 1 of " in warned.out


def test_a_fact_about_the_data_is_printed_once(stepladder: Command, rows: Path) -> None:
    text = csv_of([*ROWS, {"text": "", "label": "buy"}])
    Path("rows.csv").write_text(text.replace("to rent item 3", "to rent item 4"), encoding="utf-8")
    words = (*OWN, "model=toy", "method=majority,linear,zero_shot", "dataset.on_bad_row=skip")
    result = stepladder("compare", *words)
    assert result.code == 0, result.err
    facts = [line for line in result.err.splitlines() if line.startswith(("note: ", "preflight: "))]
    assert facts
    assert len(facts) == len(set(facts))
    assert [line[:5] for line in result.err.splitlines() if line.startswith("[")] == ["[1/3]", "[2/3]", "[3/3]"]


REDIRECTIONS = ("| head -c 1", "| true", "2>&1 | true", ">&-", "2>&-", ">&- 2>&- <&-")
PIPES = [(["options", "dataset", "--json"], redirection) for redirection in REDIRECTIONS] + [
    (["--help"], "| true"),
    (["completion", "bash"], "| true"),
    (["show", *OWN], "2>&1 | head -1"),
    (["list", "--json"], "2>&1 | true"),
    (["show", "no_such=1"], "2>&1 | true"),
]


@pytest.mark.parametrize(("words", "redirected"), PIPES)
def test_a_closed_or_broken_stream_shows_no_traceback(rows: Path, words: list[str], redirected: str) -> None:
    Path("outputs").mkdir()
    command = f"{shlex.join([sys.executable, '-m', 'stepladder', *words])} {redirected}"
    done = subprocess.run(
        ["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}} >code"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr + done.stdout
    assert "Exception ignored" not in done.stderr
    assert Path("code").read_text().strip() == ("2" if "no_such=1" in words else "0")
    if redirected == "2>&-":
        assert json.loads(done.stdout)["name"] == "dataset"
