"""`predict`: a file's own columns with an answer beside them, by a stored fit or by what a study recommends."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from stepladder.runs.stages import CODE_VERSION

Command = Callable[..., Any]
OWN = ("dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label", "tracking=none")
NEW = 'answer,text,extra\nx,"I want to buy, now ""quoted""",1.50\ny,please sell this,007\nx,please sell this,None\n'


def rows(*, label: Callable[[str, int], str] = lambda verb, _: verb) -> str:
    lines = [f"I want to {verb} item {n},{label(verb, n)}" for n in range(24) for verb in ("buy", "sell", "rent")]
    return "\n".join(["text,label", *lines, ""])


@pytest.fixture
def fit(stepladder: Command, here: Path) -> str:
    Path("rows.csv").write_text(rows(), encoding="utf-8")
    Path("new.csv").write_text(NEW, encoding="utf-8")
    result = stepladder("run", *OWN, "method=linear", "--json")
    assert result.code == 0, result.err
    folder: str = result.json["folders"]["fit"]
    return folder


def read(file: str) -> list[dict[str, Any]]:
    path = Path(file)
    if path.suffix == ".parquet":
        return list(parquet.read_table(path).to_pylist())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("to", ["out.csv", "out.jsonl", "out.parquet", "deep/er/out.CSV"])
def test_every_format_has_the_input_columns_and_the_answers(stepladder: Command, fit: str, to: str) -> None:
    result = stepladder("predict", fit, "new.csv", "--to", to)
    assert result.code == 0, result.err
    found = read(to) if not to.endswith("CSV") else list(csv.DictReader(Path(to).read_text().splitlines()))
    more = [] if to.lower().endswith("csv") else ["probabilities"]
    assert list(found[0]) == ["input_answer", "text", "extra", "id", "answer", "confidence", "failure", *more]
    assert [row["text"] for row in found] == ['I want to buy, now "quoted"', "please sell this", "please sell this"]
    assert [row["extra"] for row in found] == ["1.50", "007", "None"]  # as in the file
    assert [row["input_answer"] for row in found] == ["x", "y", "x"]
    assert [row["answer"] for row in found] == ["buy", "sell", "sell"]
    assert len({row["id"] for row in found}) == 3
    assert all(0.5 < float(row["confidence"]) <= 1 for row in found)
    if more:
        assert found[0]["probabilities"][found[0]["answer"]] == found[0]["confidence"]
        assert found[0]["failure"] is None


@pytest.mark.parametrize(
    ("to", "told"),
    [
        ("out.txt", ".parquet"), ("out", ".csv"), ("new.csv", "overwrite"), ("link.csv", "overwrite"),
        ("./../here/new.csv", "overwrite"), ("folder.csv", "directory"), ("out.csv.gz", ".csv"),
    ],
)  # fmt: skip
def test_a_destination_that_can_not_be_written_is_refused_first(
    stepladder: Command, fit: str, to: str, told: str
) -> None:
    Path("folder.csv").mkdir()
    Path("link.csv").symlink_to("new.csv")
    result = stepladder("predict", fit, "new.csv", "--to", to)
    assert result.code == 2
    assert told in result.err
    assert Path("new.csv").read_text(encoding="utf-8") == NEW
    assert not Path("out.txt").exists()


def test_rejected_rows_keep_their_place(stepladder: Command, fit: str) -> None:
    result = stepladder("run", *OWN, "method=linear", "dataset.on_bad_row=skip", "--json", "--outputs", "skipping")
    Path("bad.jsonl").write_text('{"text": "to buy", "n": 1}\nbroken\n{"text": " ", "n": 3}\n{"text": "sell"}\n')
    found = stepladder("predict", result.json["folders"]["fit"], "bad.jsonl", "--to", "out.jsonl")
    assert found.code == 0, found.err
    answers = read("out.jsonl")
    assert [row["answer"] for row in answers] == ["buy", None, None, "sell"]
    assert [row["n"] for row in answers] == [1, None, 3, None]
    assert "not JSON" in answers[1]["failure"]
    assert "empty" in answers[2]["failure"]
    Path("all_bad.jsonl").write_text("broken\n{}\n")
    stepladder("predict", result.json["folders"]["fit"], "all_bad.jsonl", "--to", "none.csv")
    stopped = stepladder("predict", fit, "bad.jsonl", "--to", "stopped.csv")
    assert stopped.code == 2
    assert "line 2" in stopped.err
    assert not Path("stopped.csv").exists()


@pytest.mark.parametrize(
    ("content", "encoding", "words"),
    [
        ('text\nto buy\n" "\nsell\n', "utf-8", ["dataset.on_bad_row=skip"]),
        ("text~more\nto buy~1\nto rent~2\nsell~3\n", "utf-8", ["dataset.delimiter='~'"]),
        ("text\nto bùy\nto rent\nsell\n", "cp1252", ["dataset.encoding=cp1252"]),
        ("to buy,1\nto rent,2\nsell,3\n", "utf-8", ["dataset.header=[text,more]"]),
    ],
)
def test_the_command_line_says_how_the_new_file_is_read(
    stepladder: Command, fit: str, content: str, encoding: str, words: list[str]
) -> None:
    Path("other.csv").write_text(content, encoding=encoding)
    found = stepladder("predict", fit, "other.csv", *words, "--to", "out.jsonl")
    assert found.code == 0, found.err
    answers = read("out.jsonl")
    assert len(answers) == 3
    assert answers[2]["answer"] == "sell"
    assert answers[1]["answer"] is None or "skip" not in words[0]


def test_a_run_that_is_not_there_is_named(stepladder: Command, fit: str) -> None:
    for folder, told in (("outputs/fits/gone", "There is no such directory"), (".", "no folder of a run")):
        found = stepladder("predict", folder, "new.csv")
        assert found.code == 2
        assert told in found.err
        assert "permissions" not in found.err


def test_a_limit_that_changes_nothing_is_named_as_it_was_typed(stepladder: Command, fit: str) -> None:
    saved = stepladder("show", *OWN, "method=linear", "--limit", "7")
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/saved.yaml").write_text(saved.out, encoding="utf-8")
    found = stepladder("show", "experiment=saved", "--config-dir", "mine", "--limit", "7")
    assert "--limit 7 changes nothing" in found.err
    assert "++" not in found.err


@pytest.mark.parametrize("word", ["dataset.input=extra", "dataset.on_bad_rows=skip", "dataset.on_bad_row=skipp"])
def test_a_dataset_key_that_predict_does_not_take_is_refused(stepladder: Command, fit: str, word: str) -> None:
    found = stepladder("predict", fit, "new.csv", word, "--to", "out.csv")
    assert found.code == 2
    assert "on_bad_row" in found.err
    assert not Path("out.csv").exists()


def test_values_of_json_keep_their_types(stepladder: Command, fit: str) -> None:
    values = [
        {"text": "to buy", "list": [1, "a"], "object": {"k": None}, "big": 2**70, "mixed": 1, "odd": "\ud800"},
        {"text": "to sell", "list": [], "object": {"j": 2.5}, "big": 3, "mixed": "eins", "odd": "ü\n,"},
    ]
    Path("typed.jsonl").write_text("\n".join(json.dumps(value) for value in values))
    for to in ("out.jsonl", "out.parquet", "out.csv"):
        result = stepladder("predict", fit, "typed.jsonl", "--to", to)
        assert result.code == 0, result.err
    first, second = read("out.jsonl")
    assert {name: first[name] for name in values[0] if name != "odd"} == {
        name: value for name, value in values[0].items() if name != "odd"
    }
    assert first["odd"] == "\ud800"
    assert second["odd"] == "ü\n,"
    assert [row["mixed"] for row in read("out.parquet")] == ["1", "eins"]
    assert [row["big"] for row in read("out.csv")] == [str(2**70), "3"]


def test_columns_of_parquet_stay_typed(stepladder: Command, fit: str) -> None:
    columns = {
        "text": pyarrow.array(["to buy", "to sell"]),
        "small": pyarrow.array([1, None], pyarrow.int8()),
        "day": pyarrow.array([0, 20000], pyarrow.date32()),
        "kind": pyarrow.array(["a", "b"]).dictionary_encode(),
        "map": pyarrow.array([[("k", 1)], []], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
        "id": pyarrow.array([b"\xff", b""]),
    }
    table = pyarrow.table(columns)
    parquet.write_table(table, "typed.parquet")
    for to in ("out.parquet", "out.csv", "out.jsonl"):
        result = stepladder("predict", fit, "typed.parquet", "--to", to)
        assert result.code == 0, result.err
    found = parquet.read_table("out.parquet")
    for name in columns:
        kept = found.column("input_id" if name == "id" else name)
        assert kept.to_pylist() == table.column(name).to_pylist()
        if name != "kind":
            assert kept.type == table.column(name).type
    assert read("out.csv")[1]["day"] == "2024-10-04"
    assert read("out.jsonl")[0]["small"] == 1


def test_a_study_answers_with_its_recommended_method(stepladder: Command, fit: str, here: Path) -> None:
    told = stepladder("compare", *OWN, "method=majority,linear", "seed=0,1", "--json").json
    assert told["verdict"]["recommended"] == "linear"
    study = Path(told["report"]).parent
    for name in (str(study), study.name, f"outputs/studies/{study.name}/"):
        result = stepladder("predict", name, "new.csv", "--to", "out.csv", "--json")
        assert result.code == 0, result.err
        assert result.json["recommended"] == "linear"
        assert [row["answer"] for row in read("out.csv")] == ["buy", "sell", "sell"]
    assert "recommended" not in stepladder("predict", fit, "new.csv", "--json").json
    shutil.move("outputs", "moved")
    result = stepladder("predict", f"moved/studies/{study.name}", "new.csv", "--json")
    assert result.code == 0, result.err
    assert "moved/fits" in result.json["folder"]


@pytest.mark.parametrize("damage", ["none recommended", "no run", "broken", "no fit"])
def test_a_study_without_an_answer_says_why(stepladder: Command, fit: str, damage: str) -> None:
    told = stepladder("compare", *OWN, "method=majority,linear", "--json").json
    file = Path(told["report"]).parent / "comparison.json"
    changed = json.loads(file.read_text(encoding="utf-8"))
    if damage == "none recommended":
        changed["verdict"] |= {"recommended": None, "reason": "Too few rows."}
    elif damage == "no run":
        changed["rows"] = []
    elif damage == "no fit":
        shutil.rmtree(told["rows"][1]["folders"]["fit"])
    else:
        changed = {"verdict": []}
    file.write_text(json.dumps(changed), encoding="utf-8")
    result = stepladder("predict", str(file.parent), "new.csv", "--to", "out.csv")
    assert result.code == 2
    assert {"none recommended": "Too few rows.", "no fit": "not in the store"}.get(
        damage, "comparison.json"
    ) in result.err
    assert not Path("out.csv").exists()


def test_a_sweep_answers_with_its_winner(stepladder: Command, fit: str) -> None:
    told = stepladder("sweep", *OWN, "method=linear", "+method.words=choice(1,2)", "sweep.trials=2", "--json").json
    result = stepladder("predict", told["study"], "new.csv", "--json")
    assert result.code == 0, result.err
    assert result.json["recommended"] == "linear"
    assert Path(result.json["folder"]).name == Path(told["test"]["folders"]["fit"]).name


def test_an_unknown_study_is_answered_with_the_nearest(stepladder: Command, fit: str) -> None:
    study = stepladder("compare", *OWN, "method=majority,linear", "--json").json["study"]
    result = stepladder("predict", study[:-1], "new.csv")
    assert result.code == 2
    assert f"did you mean '{study}'?" in result.err


def predictions(result: Any) -> list[dict[str, Any]]:
    return read(str(Path(result.json["folders"]["predict"]) / "predictions.jsonl"))


def test_stored_predictions_hold_questions_and_expected_answers(
    stepladder: Command, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "s3cret-value-of-the-environment"
    monkeypatch.setenv("SOME_API_KEY", secret)
    Path("rows.csv").write_text(rows().replace("item", secret), encoding="utf-8")
    for method, hashed in (("linear", False), ("zero_shot", True)):
        result = stepladder("run", *OWN, "model=toy", f"method={method}", "--json")
        assert result.code == 0, result.err
        found = predictions(result)
        assert all(row["question"].startswith("I want to") and "***" in row["question"] for row in found)
        assert all(row["expected"] == [row["question"].split()[3]] for row in found)
        assert all(isinstance(row["prompt_hash"], str) is hashed for row in found)
    assert len({row["prompt_hash"] for row in found}) == len(found)
    assert secret not in (Path(result.json["folders"]["predict"]) / "predictions.jsonl").read_text(encoding="utf-8")


def test_a_corrected_label_refreshes_what_reused_predictions_expect(stepladder: Command, fit: str) -> None:
    Path("test.csv").write_text("text,label\nto buy,buy\nto sell,rent\n", encoding="utf-8")
    words = ("run", *OWN, "dataset.test=test.csv", "method=linear", "--json")
    assert [row["expected"] for row in predictions(stepladder(*words))] == [["buy"], ["rent"]]
    for label in ("sell", "rent", "sell"):  # the last two are in the store as a whole
        Path("test.csv").write_text(f"text,label\nto buy,buy\nto sell,{label}\n", encoding="utf-8")
        result = stepladder(*words)
        assert result.code == 0, result.err
        assert result.json["reused"]["predict"]
        assert [row["expected"] for row in predictions(result)] == [["buy"], [label]]
    assert stepladder(*words).json["reused"] == {"fit": True, "predict": True, "score": True}
    assert "replacing" not in json.loads((Path(result.json["folders"]["predict"]) / "done.json").read_text())


def test_a_crash_while_expected_answers_are_refreshed_breaks_nothing(
    stepladder: Command, fit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stepladder.store import store

    Path("test.csv").write_text("text,label\nto buy,buy\nto sell,rent\n", encoding="utf-8")
    words = ("run", *OWN, "dataset.test=test.csv", "method=linear", "--json")
    assert stepladder(*words).code == 0
    Path("test.csv").write_text("text,label\nto buy,buy\nto sell,sell\n", encoding="utf-8")
    written = store.write_text
    for crash_at in range(3):
        count = -1

        def write(path: Path, text: str, crash_at: int = crash_at) -> None:
            nonlocal count
            if "predictions" in str(path):
                count += 1
                if count == crash_at:
                    raise KeyboardInterrupt
            written(path, text)

        monkeypatch.setattr(store, "write_text", write)
        assert stepladder(*words).code == 130
        monkeypatch.setattr(store, "write_text", written)
    result = stepladder(*words)
    assert result.code == 0, result.err
    assert [row["expected"] for row in predictions(result)] == [["buy"], ["sell"]]


def test_a_fit_of_an_earlier_version_is_refused_in_a_sentence(stepladder: Command, fit: str) -> None:
    file = Path(fit) / "full.yaml"
    file.write_text(
        file.read_text(encoding="utf-8").replace(f"version: {CODE_VERSION}", "version: 2"), encoding="utf-8"
    )
    for words in (("predict", fit, "new.csv"), ("diff", fit, fit), ("reproduce", fit)):
        result = stepladder(*words)
        assert result.code == 2
        assert "An earlier version of Stepladder made this result" in result.err
