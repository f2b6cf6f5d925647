"""Runs from strangers, to be made again or asked: trusted no further than any other configuration."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from strange import STRANGE

from stepladder.cli.entry import main

TOY = ["experiment=first_look", "method=linear"]
pytestmark = pytest.mark.usefixtures("stranger")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder of predictions and all that belongs to it."""
    root = tmp_path_factory.mktemp("stored")
    assert main(["run", *TOY, "tracking=none", "--outputs", str(root)]) == 0
    return root


@pytest.mark.parametrize(
    "change",
    [
        {"method": {"_target_": f"{STRANGE}.run"}},
        {"method": "${method}"},
        {"method": "${nothing}"},
        {"dataset": {"_target_": "optuna.storages.journal.JournalFileBackend", "file_path": "made"}},
        {"decoding": {"_target_": "stepladder.studies.sweep.storage.FileLocks", "folder": "made"}},
        {"evaluation": {"classification": {"_target_": f"{STRANGE}.run"}}},
        {"dataset": {"_target_": "stepladder.dataset.Dataset", "train": "${oc.env:OF_THE_MACHINE}.csv"}},
    ],
)
@pytest.mark.parametrize("verb", ["reproduce", "predict"])
def test_a_strangers_run_is_trusted_no_further(
    change: dict[str, object],
    verb: str,
    stored: Path,
    stranger: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path(shutil.copytree(stored, tmp_path / "theirs"))
    (folder,) = (root / "fits").iterdir()
    config = yaml.safe_load((folder / "config.yaml").read_text()) | change
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "new.csv").write_text("text\na\n")
    words = [verb, str(folder)] + (["new.csv"] if verb == "predict" else [])
    capsys.readouterr()
    code = main([*words, "--outputs", str(tmp_path / "outputs")])
    told = capsys.readouterr()
    if verb == "predict" and "evaluation" in change:  # which is not built to predict
        assert code in (0, 2)
    else:
        assert code == 2, told.err
    assert "Traceback" not in told.err
    assert "what-only-this-machine-knows" not in told.err
    assert not (tmp_path / "made").exists()


def test_a_strangers_run_writes_nothing_outside_the_outputs(
    stored: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stored, tmp_path / "theirs" / "deep" / "store"))
    (folder,) = (root / "scores").iterdir()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"label": "../../../../escaped"}))
    before = {path for path in tmp_path.rglob("*") if "outputs" not in path.parts and "cache" not in path.parts}
    assert main(["reproduce", str(folder), "--outputs", str(tmp_path / "outputs")]) == 2
    assert "label" in capsys.readouterr().err
    after = {path for path in tmp_path.rglob("*") if "outputs" not in path.parts and "cache" not in path.parts}
    assert {path for path in after - before if "locks" not in path.parts} == set()
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize("place", ["done.json", "full.yaml", "provenance.json"])
def test_a_strangers_run_names_no_file_outside_of_it(
    place: str, stored: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = Path(shutil.copytree(stored, tmp_path / "theirs"))
    (tmp_path / "outside.json").write_text('{"rows": [["secret-row", "1"]], "key": "../../outside"}')
    (folder,) = (root / "scores").iterdir()
    if place == "done.json":
        done = json.loads((folder / place).read_text())
        (folder / place).write_text(json.dumps(done | {"files": {str(tmp_path / "outside.json"): "0" * 64}}))
    elif place == "full.yaml":
        full = yaml.safe_load((folder / place).read_text())
        (folder / place).write_text(yaml.safe_dump(full | {"predictions": {"main": "/../../../outside"}}))
    else:
        told = json.loads((folder / place).read_text())
        told["data"] = {name: {"rows": 1, "content": "/../../../outside"} for name in told["data"]}
        (folder / place).write_text(json.dumps(told))
    code = main(["reproduce", str(folder), "--outputs", str(tmp_path / "outputs")])
    told_of = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in told_of.err
    assert "secret-row" not in told_of.out + told_of.err
