"""The smallest cases of what `scripts/bench fuzz` has found: command lines, configurations, rows and models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stepladder.cli.entry import main

BOMB = "a: &a [x,x]\n" + "".join(f"{b}: &{b} [{','.join(['*' + a] * 20)}]\n" for a, b in ("ab", "bc", "cd", "de"))
HOLLOW = """_target_: stepladder.methods.AdaptedModel
model: ${model}
prompt: ${prompt}
context:
tuning:
"""
TOY = ["experiment=first_look", "dataset.source.rows=24", "method=majority"]


def refused(capsys: pytest.CaptureFixture[str], words: list[str], expected: str) -> None:
    """Exit 2 with a word on what is wrong, and nothing made."""
    assert main(words) == 2
    found = capsys.readouterr()
    assert found.err.rpartition("stepladder: ")[2].strip()
    assert expected in found.err
    assert not any(Path.cwd().iterdir())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("~method", "method"),
        ("~seed", "seed"),
        ("decoding=null", "null is no option"),
        ("comparison=3", "by the name of an option"),
        ("evaluation=false", "chosen by names of options"),
        ("evaluation.classification=5", "no suite"),
        ("prompt=[[[]]]", "by the name of an option"),
        ("dataset={a: 1}", "by the name of an option"),
        ("dataset.input='\\${seed}'", "reads like a reference"),
        ("dataset.input=" + "[" * 400, "brackets"),
        ("seed=" + "9" * 5000, "limit"),
        ("seed=range(0,1e18)", "too many values"),
        ("seed=glob(*)", "a pattern names no values"),
        ("decoding.temperature=nan", "no number to compute with"),
        ("comparison.margin=inf", "no number to compute with"),
        ("dataset.limit=1" + "0" * 30, "digits"),
        ("dataset.input='\0'", "UTF-8"),
        ("dataset.input=\udcff", "UTF-8"),
        ("dataset.source._target_=stepladder.__main__.main", "not the dotted name"),
        ("dataset.source._target_=stepladder.io.files.shutil.os.system", "outside the trusted"),
        ("dataset.source._target_=optuna.integration.LightGBMTuner", "can not be imported"),
        ("+compute._target_=stepladder.tuning.Full", "whose _target_ is a Compute"),
        ("tracking._target_=stepladder.types.Text", "does not fit here"),
        ("method.context=null", "does not fit"),
        ("model.layers=1000000", "from 1 to 64"),
        ("model.heads=0", "from 1 to 64"),
    ],
)
def test_a_command_line_is_refused(capsys: pytest.CaptureFixture[str], word: str, expected: str) -> None:
    refused(capsys, ["check", *TOY[:2], "method=zero_shot", word], expected)


@pytest.mark.parametrize(
    "node",
    [
        "{_target_: optuna.storages.RDBStorage, url: 'sqlite:///written.db'}",
        "{_target_: optuna.storages.journal.JournalFileBackend, file_path: written}",
        "{_target_: optuna.artifacts.FileSystemArtifactStore, base_path: written}",
        "{_target_: stepladder.studies.sweep.storage.FileLocks, folder: written}",
        "{_target_: stepladder.studies.sweep.storage.ServerLocks, url: 'postgresql://x@127.0.0.1:1/x', study: x}",
    ],
)
@pytest.mark.parametrize("place", ["method.tuning.adapter", "comparison.prices", "sweep.sampler"])
def test_nothing_is_built_that_is_no_part_of_an_experiment(
    capsys: pytest.CaptureFixture[str], node: str, place: str
) -> None:
    verb = ["sweep", "adapter.r=choice(2,4)"] if place.startswith("sweep") else ["check"]
    words = [*verb, "experiment=first_look", "method=finetune", f"++{place}={node}"]
    refused(capsys, words, "not a class that experiments are made of")


@pytest.mark.parametrize("sampler", ["null", "{a: 1}", "{_target_: stepladder.types.Text}"])
def test_a_sampler_is_a_sampler(capsys: pytest.CaptureFixture[str], sampler: str) -> None:
    words = ["sweep", *TOY[:2], "method=linear", "+method.words=choice(1,2)", f"++sweep.sampler={sampler}"]
    refused(capsys, words, "sampler")


@pytest.mark.parametrize("target", ["2", "peft.LoraConfig"])
def test_prices_are_prices(capsys: pytest.CaptureFixture[str], target: str) -> None:
    refused(capsys, ["compare", *TOY[:2], "method=majority,linear", f"++comparison.prices._target_={target}"], "prices")


def test_a_node_without_a_target_is_no_sampler(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "sweep" / "sampler").mkdir(parents=True)
    (tmp_path / "sweep" / "sampler" / "tpe.yaml").write_text("null\n", encoding="utf-8")
    words = ["sweep", *TOY[:2], "method=linear", "+method.words=choice(1,2)", "--config-dir", str(tmp_path)]
    refused(capsys, words, "no _target_")


def test_too_many_runs_are_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    refused(
        capsys,
        ["compare", *TOY[:2], "method=majority,linear", "seed=range(0,2000)"],
        "runs are too many for a comparison",
    )


@pytest.mark.parametrize(
    ("file", "content", "expected"),
    [
        ("dataset/own.yaml", BOMB, "has more than 100,000 values"),
        ("dataset/own.yaml", "a: &a [*a]\n", "part of itself"),
        ("dataset/own.yaml", "a: " + "[" * 100 + "]" * 100 + "\n", "deep"),
        ("dataset/toy.yaml", b"seed: \xff\n", "UTF-8"),
        ("dataset/toy.yaml", "source: {rows: 2020-02-31}\n", ""),
        ("dataset/toy.yaml", "seed: !!binary aGk=\n", "dataset"),
        ("method/majority.yaml", "_target_: x\n  y: 1\n", "indented wrongly"),
        ("method/majority.yaml", HOLLOW, "does not fit"),
    ],
)  # fmt: skip
def test_a_configuration_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str, content: str | bytes, expected: str
) -> None:
    path = tmp_path / "conf" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(capsys, ["check", *TOY, "--config-dir", str(tmp_path / "conf")], expected)
    refused(capsys, ["check", *TOY, "metod=x", "--config-dir", str(tmp_path / "conf")], "")


def rows(tmp_path: Path, name: str, content: bytes) -> list[str]:
    (tmp_path / name).write_bytes(content)
    return ["experiment=first_look", "dataset=file", f"dataset.train='{tmp_path / name}'", "method=majority"]


def of_json(tmp_path: Path) -> list[str]:
    lines = b"".join(json.dumps({"text": f"t{n}", "label": {"n": "x"}}).encode() + b"\n" for n in range(12))
    read = rows(tmp_path, "rows.jsonl", lines)
    return [*read, "dataset.input=text", "dataset.target=label", "dataset.task.kind=json"]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ("{$ref: '#/nowhere'}", "not in it"),
        ("{$ref: 'file:///etc/hostname'}", "no other file"),
        ("{$ref: '#'}", "without an end"),
        ("{type: object, properties: {n: {type: string, pattern: '('}}}", "no JSON schema"),
    ],
)
def test_a_schema_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, schema: str, expected: str) -> None:
    lines = b"".join(json.dumps({"text": f"t{n}", "label": {"n": "x"}}).encode() + b"\n" for n in range(12))
    words = [
        *rows(tmp_path, "rows.jsonl", lines),
        "dataset.input=text",
        "dataset.target=label",
        "dataset.task.kind=json",
    ]
    refused(capsys, ["check", *words, f"dataset.task.schema={schema}"], expected)


def test_a_schema_may_allow_anything(tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"text": f"t{n}", "label": {"n": "x"}}).encode() + b"\n" for n in range(12))
    words = [
        *rows(tmp_path, "rows.jsonl", lines),
        "dataset.input=text",
        "dataset.target=label",
        "dataset.task.kind=json",
    ]
    schema = "dataset.task.schema={type: object, properties: {n: true}}"
    more = ["method=structured", "decoding.max_new_tokens=16", "evaluation=[format]"]
    assert main(["run", *words, schema, *more]) == 0


@pytest.mark.parametrize("odd", ["far", "zone", "twice"])
def test_a_parquet_file_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, odd: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    columns = {
        "far": pa.array([2**50] * 12, pa.timestamp("s")),
        "zone": pa.array([1] * 12, pa.timestamp("us", tz="Nowhere/Else")),
        "twice": pa.array(["x"] * 12),
    }
    table = pa.table({"text": [f"t{n}" for n in range(12)], "label": ["a", "b"] * 6})
    table = table.append_column("text" if odd == "twice" else "odd", columns[odd])
    parquet.write_table(table, tmp_path / "rows.parquet")
    words = [*rows(tmp_path, "beside", b""), f"dataset.train='{tmp_path / 'rows.parquet'}'"]
    refused(capsys, ["check", *words[:2], *words[3:], "dataset.input=text", "dataset.target=label"], "column")


def test_a_home_that_nobody_has_is_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["experiment=first_look", "dataset=file", "dataset.train='~nobody.at.all/x.csv'", "method=majority"]
    refused(capsys, ["check", *words, "dataset.input=text", "dataset.target=label"], "There is no file")
    refused(capsys, ["diff", "~nobody.at.all/a", "~nobody.at.all/b"], "no folder of a run")


def test_hints_for_long_labels_take_no_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = "text,label\n" + "".join(f"t{n},{'ab'[n % 2] * 100_000}\n" for n in range(12))
    test = "text,label\nx," + "c" * 100_000 + "\n"
    words = rows(tmp_path, "rows.csv", text.encode())
    (tmp_path / "test.csv").write_text(test, encoding="utf-8")
    more = ["dataset.input=text", "dataset.target=label", f"dataset.test='{tmp_path / 'test.csv'}'"]
    refused(capsys, ["check", *words, *more], "never seen in training")


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("config.json", "vocab_size", -1),
        ("config.json", "pad_token_id", 10**6),
        ("config.json", "head_dim", 7),
        ("config.json", "num_hidden_layers", 10**9),
        ("config.json", "hidden_act", "nothing"),
        ("tokenizer_config.json", "model_max_length", "x"),
        ("tokenizer.json", "model", {"type": "BPE"}),
        ("tokenizer_config.json", "chat_template", "{{ 1 / 0 }}"),
        ("tokenizer_config.json", "chat_template", "{% for i in range(10**9) %}x{% endfor %}"),
    ],
)
def test_a_model_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, file: str, key: str, value: object
) -> None:
    from stepladder.models.toy import ToyCheckpoint

    model, folder = ToyCheckpoint().load(), tmp_path / "model"
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), key: value}), encoding="utf-8")
    words = [*TOY[:2], "method=zero_shot", "model=folder", f"model.path='{folder}'", "model.dtype=float32"]
    assert main(["run", *words, "--outputs", str(tmp_path / "out")]) == 2
    assert "model" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("predictions/*"))
