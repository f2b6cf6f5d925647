"""A stored run is made again: it comes out the same, or what differs is named with what can explain it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import forked
import pytest
import yaml

from stepladder.cli.entry import main
from stepladder.engine.select import fast_engine
from stepladder.models.toy import ToyCheckpoint

Reproduce = Callable[..., tuple[int, dict[str, Any], str]]
SETTINGS = [
    "dataset=file", "dataset.train=rows.csv", "dataset.id=id", "dataset.input=text", "dataset.target=label",
    "model=folder", "model.path=base", "model.dtype=float32", "training=smoke", "training.epochs=1",
    "training.learning_rate=0.001", "tracking=none", "compute=cpu", "--json",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rows, a base model and an `outputs` that another process has made: finetune, zero_shot, linear."""
    folder = tmp_path_factory.mktemp("made")
    lines = [f"{label}{n},please {label} item {n},{label}" for n in range(8) for label in ("buy", "sell", "rent")]
    (folder / "rows.csv").write_text("\n".join(["id,text,label", *lines, ""]), encoding="utf-8")
    base = ToyCheckpoint(hidden=16, layers=1).load("cpu")
    base.module.save_pretrained(folder / "base")
    base.tokenizer.save_pretrained(folder / "base")
    for method in ("finetune", "zero_shot", "linear"):
        with chdir(folder):
            done = forked.run(["run", *SETTINGS, f"method={method}"])
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change; its runs say that they were started in it."""
    project = Path(shutil.copytree(made, tmp_path / "project"))
    for file in project.glob("outputs/*/*/provenance.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        _rewritten(file, told | {"folder": str(project)})
    return project


def _rewritten(file: Path, told: Mapping[str, Any]) -> None:
    """Another content, as if the run had written that."""
    file.write_text(json.dumps(told), encoding="utf-8")
    done = json.loads((file.parent / "done.json").read_text(encoding="utf-8"))
    done["files"].pop(file.name, None)
    (file.parent / "done.json").write_text(json.dumps(done), encoding="utf-8")


@pytest.fixture
def reproduce(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Reproduce:
    def ask(folder: Path, *flags: str) -> tuple[int, dict[str, Any], str]:
        code = main(["reproduce", str(folder), "--outputs", str(tmp_path / "again"), "--json", *flags])
        told = capsys.readouterr()
        return code, json.loads(told.out) if told.out else {}, told.err

    return ask


def of(project: Path, kind: str, method: str) -> Path:
    (folder,) = (project / "outputs" / kind).glob(f"{method}-*")
    return folder


def aspects(told: Mapping[str, Any]) -> dict[str, Any]:
    return {each["aspect"]: each for each in told["aspects"]}


def differing(told: Mapping[str, Any]) -> set[str]:
    return {name for name, each in aspects(told).items() if each["state"] == "differs"}


def flip_a_bit(file: Path, keep_time: bool = False) -> None:
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    if keep_time:
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("kind", "method"), [("scores", "finetune"), ("predictions", "zero_shot"), ("fits", "linear")])
def test_a_run_of_another_process_comes_out_the_same(
    project: Path, reproduce: Reproduce, kind: str, method: str, tmp_path: Path
) -> None:
    code, told, err = reproduce(of(project, kind, method), "--verify")
    assert code == 0, err
    assert told["same"]
    assert {name for name, each in aspects(told).items() if each["state"] == "not recorded"} == set()
    assert len(told["metrics"]) == 2
    assert all(each["is"] == each["was"] for each in told["metrics"])
    assert Path(told["folders"]["score"]).is_relative_to(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "reproduction.json").read_text(encoding="utf-8")) == told


def test_a_fresh_run_of_this_process_comes_out_the_same(
    reproduce: Reproduce, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", "experiment=first_look", "method=linear", "--outputs", str(tmp_path / "first"), "--json"]
    assert main(words) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folders"]["score"])
    code, told, err = reproduce(folder, "--verify")
    assert code == 0, err
    assert told["tolerance"]["name"] == "exact"


@pytest.mark.parametrize("row", ["buy0", "rent1"])
def test_a_changed_row_is_named(project: Path, reproduce: Reproduce, row: str) -> None:
    rows = project / "rows.csv"
    text = rows.read_text(encoding="utf-8")
    rows.write_text(text.replace(f"{row},please", f"{row},kindly"), encoding="utf-8")
    assert rows.read_text(encoding="utf-8") != text
    code, told, err = reproduce(of(project, "scores", "linear"), "--verify")
    assert code == 3
    assert f"row '{row}' has another content" in err
    assert "Traceback" not in err
    assert "data" in differing(told)
    for name in differing(told) & {"predictions", "metrics", "adapter"}:
        assert "data" in aspects(told)[name]["explained_by"]


def test_a_row_that_no_stage_reads_is_named_too(project: Path, reproduce: Reproduce) -> None:
    rows = project / "rows.csv"
    provenance = json.loads((of(project, "scores", "zero_shot") / "provenance.json").read_text(encoding="utf-8"))
    content = provenance["data"]["train"]["content"]
    kept = json.loads((project / "outputs" / "indexes" / f"rows-{content}.json").read_text(encoding="utf-8"))
    row = kept["rows"][0][0]
    rows.write_text(rows.read_text(encoding="utf-8").replace(f"{row},please", f"{row},please "), encoding="utf-8")
    code, told, err = reproduce(of(project, "scores", "zero_shot"), "--verify")
    assert code == 3
    assert f"train: row '{row}' has another content" in err
    assert "(it reaches no result of this run)" in err
    assert differing(told) == {"data"}


def test_rows_on_other_sides_are_another_split(project: Path, reproduce: Reproduce) -> None:
    folder = of(project, "scores", "linear")
    config = folder / "config.yaml"
    node = yaml.safe_load(config.read_text(encoding="utf-8"))
    node["dataset"]["split"]["test"] = 0.6
    config.write_text(yaml.safe_dump(node), encoding="utf-8")
    code, told, err = reproduce(folder, "--verify")
    assert code == 3
    assert "dataset.split.test was 0.3, is 0.6" in err
    assert aspects(told)["data"]["state"] == "same"
    assert "is in test" in err
    assert "split" in aspects(told)["predictions"]["explained_by"]


@pytest.mark.parametrize(
    ("place", "value", "aspect", "line"),
    [
        ("method.tuning.training.learning_rate", 0.002, "config", "learning_rate was 0.001, is 0.002"),
        ("seed", 7, "seed", "seed was 0, is 7"),
    ],
)
def test_a_changed_value_is_named(
    project: Path, reproduce: Reproduce, place: str, value: float, aspect: str, line: str
) -> None:
    folder = of(project, "scores", "finetune")
    config = folder / "config.yaml"
    whole = yaml.safe_load(config.read_text(encoding="utf-8"))
    *above, last = place.split(".")
    node = whole
    for key in above:
        node = node[key]
    node[last] = value
    config.write_text(yaml.safe_dump(whole), encoding="utf-8")
    code, told, err = reproduce(folder, "--verify")
    assert code == 3
    assert line in err
    found = aspects(told)
    assert found[aspect]["reaches"] == "fit"
    assert found["adapter"]["state"] == found["curve"]["state"] == "differs"
    assert aspect in found["adapter"]["explained_by"]
    assert found["data"]["state"] == found["base weights"]["state"] == "same"


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_flipped_bit_of_the_base_is_named(project: Path, reproduce: Reproduce, keep_time: bool) -> None:
    flip_a_bit(project / "base" / "model.safetensors", keep_time)
    code, told, err = reproduce(of(project, "scores", "zero_shot"), "--verify")
    assert code == 3
    assert "base weights  differs: method.model model.safetensors was" in err
    assert differing(told) <= {"base weights", "predictions", "metrics"}


def test_a_flipped_bit_of_the_stored_adapter_is_named(project: Path, reproduce: Reproduce) -> None:
    fit = of(project, "fits", "finetune")
    flip_a_bit(fit / "artefact" / "adapter_model.safetensors")
    code, told, err = reproduce(fit, "--verify")
    assert code == 3
    assert "artefact/adapter_model.safetensors was changed later" in err
    assert aspects(told)["adapter"]["explained_by"] == ["stored files"]
    assert "is apart by" in err
    assert differing(told) == {"stored files", "adapter"}


def test_another_version_is_a_possible_cause(project: Path, reproduce: Reproduce) -> None:
    folder = of(project, "scores", "linear")
    for file in project.glob("outputs/*/linear-*/provenance.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        here = told["distributions"]["scikit-learn"]
        told["distributions"] |= {"scikit-learn": "0.1", "no-part-of-it": "1"}
        _rewritten(file, told)
    code, told, err = reproduce(folder, "--verify")
    assert code == 3
    assert f"scikit-learn was 0.1, is {here} (a possible cause)" in err
    assert "no-part-of-it" not in err
    assert differing(told) == {"versions"}
    assert reproduce(folder)[0] == 2  # the store is not fresh any more


def test_on_another_machine_near_is_enough(project: Path, reproduce: Reproduce) -> None:
    for file in project.glob("outputs/*/linear-*/provenance.json"):
        told = json.loads(file.read_text(encoding="utf-8"))
        told["devices"]["processor"] = "another one"
        _rewritten(file, told)
    file = of(project, "predictions", "linear") / "predictions.jsonl"
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    lines[0]["probabilities"] = {name: value + 1e-6 for name, value in lines[0]["probabilities"].items()}
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    done = json.loads((file.parent / "done.json").read_text(encoding="utf-8"))
    done["files"].pop(file.name, None)
    (file.parent / "done.json").write_text(json.dumps(done), encoding="utf-8")
    code, told, err = reproduce(of(project, "scores", "linear"), "--verify")
    assert code == 0, err
    assert aspects(told)["machine"]["state"] == "differs"
    assert told["tolerance"]["name"] != "exact"


def test_another_engine_is_a_possible_cause(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = of(project, "predictions", "zero_shot"), of(project, "predictions", "finetune")
    kept = [json.loads((folder / "provenance.json").read_text(encoding="utf-8")) for folder in (one, other)]
    ran = "reference" if fast_engine() is None else "fast"
    assert [each["engine"] for each in kept] == [ran, ran]
    _rewritten(other / "provenance.json", {**kept[1], "engine": "another"})
    assert main(["diff", str(one), str(other), "--json"]) == 0
    found = aspects(json.loads(capsys.readouterr().out))
    assert found["engine"]["state"] == "differs"
    assert found["engine"]["differences"] == [f"the predict's engine was {ran}, is another"]
    assert "engine" in found["predictions"]["explained_by"]


def test_without_verify_it_only_reports(project: Path, reproduce: Reproduce) -> None:
    folder = of(project, "scores", "linear")
    rows = project / "rows.csv"
    rows.write_text(rows.read_text(encoding="utf-8").replace("buy0,please", "buy0,kindly"), encoding="utf-8")
    code, told, _ = reproduce(folder)
    assert code == 0
    assert not told["same"]


def test_a_store_that_has_the_run_is_not_fresh(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = of(project, "scores", "linear")
    assert main(["reproduce", str(folder), "--outputs", str(project / "outputs")]) == 2
    assert "not fresh" in capsys.readouterr().err
    assert main(["reproduce", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert Path(told["reproduction"]).parent == project / "outputs" / "reproductions"


@pytest.mark.parametrize("broken", ["nothing", "no config", "unfinished", "no mapping"])
def test_a_directory_that_is_not_a_run_is_reported(
    project: Path, reproduce: Reproduce, broken: str, tmp_path: Path
) -> None:
    folder = of(project, "scores", "linear")
    if broken == "nothing":
        folder = tmp_path / "nowhere"
    elif broken == "no config":
        (folder / "config.yaml").unlink()
    elif broken == "unfinished":
        (folder / "done.json").unlink()
    else:
        (folder / "config.yaml").write_text("- 1\n", encoding="utf-8")
    code, told, err = reproduce(folder)
    assert code == 2
    assert told == {}
    assert "what to do" in err
    assert "Traceback" not in err


def test_diff_shows_what_differs_between_two_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = of(project, "scores", "finetune"), of(project, "fits", "zero_shot")
    assert main(["diff", str(one), str(other), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = aspects(told)
    assert {"config", "predictions"} <= differing(told)
    assert found["data"]["state"] == found["versions"]["state"] == found["machine"]["state"] == "same"
    assert "config" in found["predictions"]["explained_by"]
    assert main(["diff", str(one), str(one)]) == 0
    assert "differs" not in capsys.readouterr().out


def test_a_wandb_run_leads_to_its_run(reproduce: Reproduce, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["run", "experiment=first_look", "method=majority", "tracking=wandb", "--outputs", str(tmp_path / "first")]
    assert main([*words, "--json"]) == 0
    score = json.loads(capsys.readouterr().out)["folders"]["score"]
    (shown,) = (tmp_path / "first" / "wandb").glob("offline-run-*")
    code, told, err = reproduce(shown, "--verify")
    assert code == 0, err
    assert told["folder"] == score


def test_the_lock_file_holds_this_environment(made: Path) -> None:
    text = (of(made, "scores", "linear") / "lock.txt").read_text(encoding="utf-8")
    pinned = dict(line.split("==") for line in text.splitlines() if not line.startswith("#"))
    told = json.loads((of(made, "scores", "linear") / "provenance.json").read_text(encoding="utf-8"))
    assert pinned == {name: version for name, version in told["distributions"].items() if name != "stepladder"}
    assert "stepladder" in told["distributions"]
