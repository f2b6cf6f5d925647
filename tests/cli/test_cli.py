"""The contract of the command line: verbs, flags, JSON, exit codes, one message per error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import barrier
import forked
import pytest

from stepladder.cli.entry import main

TOY = ["experiment=first_look"]


def outcome(capsys: pytest.CaptureFixture[str], words: Sequence[str]) -> tuple[int, str, str]:
    code = main(words)
    result = capsys.readouterr()
    return code, result.out, result.err


def fails(capsys: pytest.CaptureFixture[str], words: Sequence[str], *wanted: str) -> str:
    """Exit code 2, one message, no traceback, empty stdout, and nothing written to the output directory."""
    code, out, err = outcome(capsys, words)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    for text in wanted:
        assert text in err
    return err


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    lines = [f"I want to {verb} item {n},{verb}" for n in range(12) for verb in ("buy", "sell", "rent")]
    file.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return file


def of_file(rows: Path, outputs: Path) -> list[str]:
    return [
        "dataset=file", f"dataset.train='{rows}'", "dataset.input=text", "dataset.target=label", "tracking=none",
        "model=toy", "--outputs", str(outputs),
    ]  # fmt: skip


def test_run_prints_one_object_and_a_second_run_computes_nothing(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path
) -> None:
    words = ["run", *of_file(rows, tmp_path / "out"), "method=linear", "--json"]
    code, out, _ = outcome(capsys, words)
    first: dict[str, Any] = json.loads(out)
    assert code == 0
    assert first["reused"] == {"fit": False, "predict": False, "score": False}
    assert first["scores"]["classification"]["accuracy"]["n"] == len(
        (Path(first["folders"]["predict"]) / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    )
    assert first["rows"]["read"] == first["rows"]["kept"] + first["rows"]["rejected"] == 36
    assert all(Path(first["folders"][stage]).is_absolute() for stage in ("fit", "predict", "score"))
    again = json.loads(outcome(capsys, words)[1])
    assert again["reused"] == {"fit": True, "predict": True, "score": True}
    assert again["scores"] == first["scores"]
    assert again["costs"] == first["costs"]


def test_a_moved_file_changes_no_key_and_a_changed_row_does(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path
) -> None:
    def keys(file: Path, *more: str) -> dict[str, str]:
        code, out, err = outcome(capsys, ["show", *of_file(file, tmp_path / "out"), "--keys", "--json", *more])
        assert code == 0, err
        return {stage: found["key"] for stage, found in json.loads(out)["keys"].items()}

    moved = tmp_path / "elsewhere" / "moved.csv"
    moved.parent.mkdir()
    moved.write_bytes(rows.read_bytes())
    changed = tmp_path / "changed.csv"
    changed.write_text(rows.read_text(encoding="utf-8").replace("item 3,buy", "item 333,buy"), encoding="utf-8")
    for method in ("linear", "rag", "zero_shot"):
        assert keys(rows, f"method={method}") == keys(moved, f"method={method}")
        assert keys(rows, f"method={method}") == keys(rows, f"method={method}", "compute=cpu", "compute.micro_batch=3")
    assert keys(rows, "method=linear")["fit"] != keys(changed, "method=linear")["fit"]
    assert keys(rows, "method=zero_shot")["fit"] == keys(changed, "method=zero_shot")["fit"]
    assert keys(rows, "method=rag", "retrieval.k=2")["fit"] != keys(rows, "method=rag")["fit"]
    assert keys(rows, "method=zero_shot", "retrieval.k=2") == keys(rows, "method=zero_shot")
    assert keys(rows, "method=zero_shot", "seed=5") == keys(rows, "method=zero_shot")
    tuned = keys(rows, "method=finetune", "training=smoke")
    assert keys(rows, "method=finetune", "training=smoke", "training.learning_rate=0.123")["fit"] != tuned["fit"]
    assert keys(rows, "method=finetune", "training=smoke", "seed=5")["fit"] != tuned["fit"]


def test_a_new_test_row_trains_nothing_again(capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\nplease buy this,buy\nplease sell this,sell\n", encoding="utf-8")
    words = ["run", *of_file(rows, tmp_path / "out"), f"dataset.test='{test}'", "method=linear", "--json"]
    outcome(capsys, words)
    test.write_text(test.read_text(encoding="utf-8") + "please rent this,rent\n", encoding="utf-8")
    result = json.loads(outcome(capsys, words)[1])
    assert result["reused"] == {"fit": True, "predict": False, "score": False}


def test_a_new_metric_only_scores_again(capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path) -> None:
    words = ["run", *of_file(rows, tmp_path / "out"), "method=majority", "--json"]
    outcome(capsys, words)
    metric = "+evaluation.classification.metrics.again={_target_: stepladder.evaluation.Accuracy}"
    result = json.loads(outcome(capsys, [*words, metric])[1])
    assert result["reused"] == {"fit": True, "predict": True, "score": False}
    scores = result["scores"]["classification"]
    assert scores["again"]["value"] == scores["accuracy"]["value"]


def test_compare_ends_in_a_table_a_report_and_a_verdict(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path
) -> None:
    lines = [f"I want to {verb} item {n},{verb}" for n in range(30) for verb in ("buy", "sell", "rent")]
    rows.write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    words = ["compare", *of_file(rows, tmp_path / "out"), "method=majority,linear,zero_shot", "seed=0,1", "--json"]
    code, out, err = outcome(capsys, words)
    assert code == 0, err
    result = json.loads(out)
    assert [cell["name"] for cell in result["cells"]] == ["majority", "linear", "zero_shot"]
    assert result["baseline"] == "zero_shot"
    assert len(result["rows"]) == 3  # nothing is drawn, so both seeds are one run
    assert {"value", "low", "high", "p", "p_adjusted"} <= result["cells"][1]["difference"]["accuracy"].keys()
    assert "difference" in result["rows"][1]
    assert (result["verdict"]["recommended"], result["verdict"]["status"]) == ("linear", "recommended")
    assert set(result["cells"][2]["to_recommended"]["difference"]) == {"accuracy", "macro_f1"}
    assert "to_recommended" not in result["cells"][1]
    assert max(map(len, err.split("\nmethod ")[1].splitlines()[:-1])) <= 80
    assert "No language model is needed" in result["verdict"]["reason"]
    report = Path(result["report"])
    assert report.is_absolute()
    assert report.name == "report.html"
    for text in (report.read_text(encoding="utf-8"), report.with_suffix(".md").read_text(encoding="utf-8")):
        assert "Recommended: linear" in text
    assert "stepladder compare dataset=file" in report.read_text(encoding="utf-8")
    assert {each["point"]: each["found"] for each in result["checklist"]}["Evaluation is held out"] == "yes"
    assert result["bills"]["unit"] == "s"
    assert {"labels_used", "seconds_p50", "seconds_p95"} <= result["rows"][0]["costs"].keys()
    again = json.loads(outcome(capsys, words)[1])
    assert all(all(row["reused"].values()) for row in again["rows"])
    assert again["cells"] == result["cells"]


def test_predict_answers_new_questions_with_a_stored_fit(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path
) -> None:
    result = json.loads(outcome(capsys, ["run", *of_file(rows, tmp_path / "out"), "method=linear", "--json"])[1])
    new = tmp_path / "new.csv"
    new.write_text("text\nI want to sell item 99\nI want to rent item 98\n", encoding="utf-8")
    for folder in result["folders"]["fit"], result["folders"]["score"]:
        answers = tmp_path / "answers.jsonl"
        code, _, err = outcome(capsys, ["predict", folder, str(new), "--to", str(answers)])
        assert code == 0, err
        found = [json.loads(line)["answer"] for line in answers.read_text(encoding="utf-8").splitlines()]
        assert found == ["sell", "rent"]


def test_predict_needs_neither_the_data_nor_the_folder_it_was_made_in(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", *of_file(rows, tmp_path / "out"), "dataset.on_bad_row=skip", "method=linear", "--json"]
    result = json.loads(outcome(capsys, words)[1])
    rows.write_text(rows.read_text(encoding="utf-8").replace(",buy", ",AAA"), encoding="utf-8")
    new = tmp_path / "new.jsonl"
    new.write_text('{"text": "I want to buy item 99"}\n{broken\n', encoding="utf-8")
    monkeypatch.chdir(new.parent)
    for folder in result["folders"]["fit"], result["folders"]["predict"], result["folders"]["score"]:
        code, out, err = outcome(capsys, ["predict", folder, "new.jsonl", "--json"])
        assert code == 0, err
        assert [p["text"] for p in json.loads(out)["predictions"]] == ["buy"]
        assert json.loads(out)["rows"]["rejected"] == 1


def test_rows_are_those_of_this_runs_files(capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("text,label\nplease buy,buy\nplease sell,sell\n", encoding="utf-8")
    words = ["run", *of_file(rows, tmp_path / "out"), f"dataset.test='{test}'", "method=zero_shot", "--json"]
    first = json.loads(outcome(capsys, words)[1])
    rows.write_text(rows.read_text(encoding="utf-8") + "one more to rent,rent\n", encoding="utf-8")
    second = json.loads(outcome(capsys, words)[1])
    assert second["reused"] == {"fit": True, "predict": True, "score": True}
    assert second["rows"]["read"] == first["rows"]["read"] + 1


def test_compare_takes_a_list_of_an_added_key(capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path) -> None:
    words = ["compare", *of_file(rows, tmp_path / "out"), "method=linear", "+method.c=1,10", "--json"]
    code, out, err = outcome(capsys, words)
    assert code == 0, err
    assert [cell["name"] for cell in json.loads(out)["cells"]] == ["linear method.c=1", "linear method.c=10"]


def test_compare_takes_a_list_of_a_key_that_has_no_default(
    capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path
) -> None:
    words = [word for word in of_file(rows, tmp_path / "out") if word != "dataset.input=text"]
    code, _, err = outcome(capsys, ["compare", *words, "method=majority", "dataset.input=text,'{text}!'"])
    assert code == 2
    assert "Different questions" in err  # and nothing else is amiss
    assert outcome(capsys, ["compare", *words, "method=majority", "dataset.input=text,text", "--json"])[0] == 0


def test_help_and_show_are_quick_to_load(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(capsys, ["--help"])
    assert code == 0
    assert "compare" in out
    code, out, _ = outcome(capsys, ["show", *TOY, "method=rag"])
    assert code == 0
    assert out.startswith("# @package _global_")
    code, out, _ = outcome(capsys, ["show", *TOY, "--json"])
    assert json.loads(out)["config"]["decoding"]["mode"] == "choose"


def test_check_counts_and_computes_nothing(capsys: pytest.CaptureFixture[str], rows: Path, tmp_path: Path) -> None:
    words = ["check", *of_file(rows, tmp_path / "out"), "method=finetune", "training=smoke", "--json"]
    code, out, err = outcome(capsys, words)
    result = json.loads(out)
    assert code == 0, err
    assert result["rows"]["read"] == 36
    assert result["labels"] == 3
    assert result["steps"] > 0
    assert not (tmp_path / "out" / "fits").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["runn"], ["did you mean 'run'?"]),
        (["run", "--outptus", "x"], ["did you mean '--outputs'?"]),
        (["run", "-m", "seed=1"], ["stepladder compare"]),
        (["run", *TOY, "method=zero_shot,rag"], ["stepladder compare"]),
        (["run", "training.lerning_rate=1"], ["did you mean 'learning_rate'?", "training.lerning_rate"]),
        (["run", "method=finetun"], ["did you mean 'finetune'?"]),
        (["run", *TOY, "method=finetun", "promt=plain"], ["2 faults", "finetun", "did you mean 'prompt'?"]),
        (["run", *TOY, "method._target_=os.system"], ["trusted", "--trust"]),
        (["run", *TOY, "dataset._target_=stepladder.cli.entry.main"], ["not a class"]),
        (["run", *TOY, "dataset._target_=optuna.create_study"], ["not a class"]),
        (["run", *TOY, "prompt._target_=peft.AutoPeftModelForCausalLM.from_pretrained"], ["not a class"]),
        (["run", *TOY, "method._target_=stepladder.types.Decoding"], ["whose _target_ is a Method"]),
        (
            [
                "run",
                *TOY,
                "method=finetune",
                "dataset.on_overlap=nah",
                "seed=-1",
                "training.batch_size=abc",
                "training.epochs=-1",
                "training.lerning_rate=1",
                "+model.foo=1",
            ],
            ["on_overlap", "seed", "batch_size", "epochs", "lerning_rate", "foo"],
        ),
        (["run", *TOY, "dataset.train=null", "dataset.test=toy", "method=linear"], ["dataset.train"]),
        (["run", *TOY, "method=finetune", "adapter.target_modules=[nothing_such]"], ["nothing_such"]),
        (["run", "dataset=file", "dataset.train=absent.csv", "dataset.input=a", "dataset.target=b"], ["absent.csv"]),
        (["compare", *TOY, "comparison.baseline=nobody"], ["nobody"]),
        (["predict", "nowhere", "new.csv"], ["nowhere"]),
        (["run", *TOY, "seed=-1"], ["seed"]),
        (["run", *TOY, "decoding=json"], ["decoding.mode"]),
    ],
)
def test_bad_input_is_one_clear_message(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], wanted: list[str]
) -> None:
    outputs = [] if "--outptus" in words else ["--outputs", str(tmp_path / "out")]
    fails(capsys, [*words, *outputs], *wanted)
    left = [f.parent for f in (tmp_path / "out").rglob("config.yaml")]
    assert [folder for folder in left if not (folder / "done.json").exists()] == []


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"", ["empty"]),
        (b"text,label\n", ["rows.csv"]),
        (b'text,label\n"broken,a\nb,c\n', ["rows.csv", "2"]),
        (b"text,label\nok,a\nn\x81,b\n", ["rows.csv", "3"]),
        (b"text,label\n" + b"".join(b"row %d,a\n" % n for n in range(20)), ["label"]),
        (b"words,label\na,b\n", ["text", "words"]),
    ],
    ids=["empty", "only a header", "broken quote", "not utf-8", "one label", "missing column"],
)
def test_an_error_in_a_file_names_file_and_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: Path, content: bytes, wanted: list[str]
) -> None:
    rows.write_bytes(content)
    fails(capsys, ["run", *of_file(rows, tmp_path / "out"), "method=linear"], *wanted)
    assert not (tmp_path / "out" / "fits").exists()


def test_prompts_longer_than_the_window_stop_the_run_unless_configured_otherwise(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, rows: Path
) -> None:
    long = "word " * 1000
    rows.write_text(rows.read_text(encoding="utf-8").replace("I want to buy item 3", long), encoding="utf-8")
    test = tmp_path / "test.csv"
    test.write_text(f"text,label\nplease buy,buy\n{long},sell\n", encoding="utf-8")
    words = ["run", *of_file(rows, tmp_path / "out"), f"dataset.test='{test}'", "method=zero_shot"]
    fails(capsys, words, "window", "prompt.on_overflow")
    code, out, err = outcome(capsys, [*words, "prompt.on_overflow=skip", "--json"])
    assert code == 0, err
    assert json.loads(out)["costs"]["failures"] == 1


def test_an_interrupted_fit_leaves_an_intact_store_and_resumes(tmp_path: Path) -> None:
    outputs = tmp_path / "out"
    words = [sys.executable, "-m", "stepladder", "run", *TOY, "method=finetune", "training.epochs=2",
             "training.patience=null", *barrier.held, "--outputs", str(outputs), "--json"]  # fmt: skip
    environment = {**barrier.environment(tmp_path / "held", step=3), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    barrier.wait_until_held(environment, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert not list(outputs.glob("*/*/done.json"))
    done = forked.run(words[3:], {**environment, barrier.STEP: ""})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["costs"]["trained_parameters"] > 0
