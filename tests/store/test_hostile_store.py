"""The smallest cases of what `scripts/bench fuzz` has found in stores: files that are not what they were."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stepladder.cli.entry import main

LINEAR = ["experiment=first_look", "dataset.source.rows=24", "method=linear"]
RAG = [*LINEAR[:2], "method=rag"]
COMPARED = [*LINEAR[:2], "method=majority,linear"]
SWEPT = [*LINEAR, "+method.words=choice(1,2)", "sweep.trials=2", "sweep.name=fuzzed"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("made") / "outputs"
    for verb, words in (("run", LINEAR), ("run", RAG), ("compare", COMPARED), ("sweep", SWEPT)):
        assert main([verb, *words, "--outputs", str(store)]) == 0
    return store


@pytest.fixture
def store(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "outputs")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "outputs"


def ends(capsys: pytest.CaptureFixture[str], words: list[str], told: str = "", code: int = 2) -> str:
    assert main(words) == code
    found = capsys.readouterr()
    assert told in found.out + found.err
    return found.out


def of(store: Path, kind: str, name: str = "linear-toy") -> Path:
    """The first folder of a run."""
    return min((store / kind).glob(f"{name}-*"), key=lambda folder: (folder / "done.json").stat().st_mtime)


def seal(folder: Path, name: str, content: bytes) -> None:
    """Change a file, and what done.json says of it."""
    (folder / name).write_bytes(content)
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    done["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / "done.json").write_text(json.dumps(done), encoding="utf-8")


def changed(done: Callable[[dict], None]) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        told = json.loads(content)
        done(told)
        return json.dumps(told).encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"\xff" + content,
        lambda content: b"[" * 100_000,
        lambda content: content[: len(content) // 2],
        lambda content: b"[1]",
        changed(lambda told: told.update(facts=[1])),
        changed(lambda told: told["facts"].pop("scores")),
        changed(lambda told: told["facts"].update(scores={"x": {"y": 3}})),
        changed(lambda told: told["facts"].update(gate=[{"told": 1}])),
        changed(lambda told: told.update(files={"../../../x": "0"})),
        changed(lambda told: told.update(key=3)),
    ],
)
def test_a_folder_whose_end_is_not_believed_is_made_anew(
    capsys: pytest.CaptureFixture[str], store: Path, change: Callable[[bytes], bytes]
) -> None:
    done = of(store, "scores") / "done.json"
    before = json.loads(done.read_bytes())
    done.write_bytes(change(done.read_bytes()))
    assert "broken" in ends(capsys, ["list"], code=0)
    ends(capsys, ["clean"], "it is broken", code=0)
    assert done.exists()
    ends(capsys, ["reproduce", str(done.parent)], "not finished")
    again = json.loads(ends(capsys, ["run", *LINEAR, "--json"], code=0))
    assert again["reused"]["score"] is False
    assert again["scores"] == before["facts"]["scores"]


@pytest.mark.parametrize(
    ("kind", "file"), [("fits", "full.yaml"), ("predictions", "predictions.jsonl"), ("scores", "scores.json")]
)
def test_a_changed_file_is_told_and_not_read(
    capsys: pytest.CaptureFixture[str], store: Path, kind: str, file: str
) -> None:
    path = of(store, kind) / file
    path.write_bytes(path.read_bytes() + b"\n")
    ends(capsys, ["run", *LINEAR], "changed after it was made")


def test_a_changed_fit_answers_nothing(capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("text,label\nwho looks at the boiler?,\n", encoding="utf-8")
    fit = of(store, "fits")
    asked = ["predict", str(of(store, "predictions")), "new.csv"]
    for name, content in (("idf.npy", b""), ("weights.json", b"{}"), ("counts.json", b"{}"), ("labels.json", b"[1]")):
        good = (fit / "artefact" / name).read_bytes()
        (fit / "artefact" / name).write_bytes(content)
        ends(capsys, asked, "stored fit is broken")
        seal(fit, f"artefact/{name}", content)
        ends(capsys, asked, "stored fit is broken")
        seal(fit, f"artefact/{name}", good)
    seal(fit, "task.json", b'{"kind": "choice", "instruction": 3}')
    ends(capsys, asked, "has no task")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x: [", "broken"),
        (b"\xff", "broken"),
        (b"[1]", "no mapping"),
        (b"1: 2", "no mapping"),
        (b"{}", "not a stored experiment"),
        (b'{"dataset": 3}', "not a stored experiment"),
    ],
)
def test_a_broken_configuration_is_told(
    capsys: pytest.CaptureFixture[str], store: Path, content: bytes, told: str
) -> None:
    score = of(store, "scores")
    seal(score, "config.yaml", content)
    ends(capsys, ["reproduce", str(score)], told)
    ends(capsys, ["list"], code=0)


def test_a_label_leads_nowhere_else(capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path) -> None:
    score = of(store, "scores")
    config = (score / "config.yaml").read_text(encoding="utf-8").replace("label: linear-toy", "label: ../../../x")
    seal(score, "config.yaml", config.encode())
    ends(capsys, ["reproduce", str(score)], "not a stored experiment")
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


def test_records_of_nonsense_are_not_recorded(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    score = of(store, "scores")
    for told in (b"3", b'{"config": 3, "data": {"test": 1}, "compute": {"devices": 0}, "code": {"commit": 1}}'):
        seal(score, "provenance.json", told)
        ends(capsys, ["diff", str(score), str(of(store, "scores", "rag-toy-toy"))], code=0)


def test_studies_of_nonsense_hide_no_run(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    (study,) = (file.parent for file in store.glob("studies/*/comparison.json"))
    count = len(json.loads(ends(capsys, ["list", "--json"], code=0))["runs"])
    for content in (b"\xff", b"3", b'{"rows": 3}', b'{"rows": [1, {"folders": 2}, {"folders": {"score": 3}}]}'):
        (study / "comparison.json").write_bytes(content)
        assert len(json.loads(ends(capsys, ["list", "--json"], code=0))["runs"]) == count
    (study / "judged.json").write_bytes((study / "judged.json").read_bytes().replace(b'"cells"', b'"sells"'))
    told = json.loads(ends(capsys, ["compare", *COMPARED, "--json"], code=0))
    assert told["cells"]


def test_a_broken_index_is_made_anew(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    shutil.rmtree(of(store, "predictions", "rag-toy-toy"))
    for file in store.glob("indexes/*/*.npy"):
        file.write_bytes(file.read_bytes()[:-1] + b"\x7f")
    before = json.loads((of(store, "scores", "rag-toy-toy") / "done.json").read_bytes())["facts"]["scores"]
    assert json.loads(ends(capsys, ["run", *RAG, "--json"], code=0))["scores"] == before


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b'{"op_code": 99}\n', b'{"op_code": 5, "trial_id": 9}\n'])
def test_a_broken_journal_is_told(capsys: pytest.CaptureFixture[str], store: Path, line: bytes) -> None:
    journal = store / "studies" / "fuzzed" / "study.journal"
    journal.write_bytes(line + journal.read_bytes())
    for more in ([], ["--status"]):
        ends(capsys, ["sweep", *SWEPT, *more], "storage is broken")


def test_a_link_leads_out_of_no_folder(capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path) -> None:
    beyond = tmp_path / "beyond"
    beyond.mkdir()
    (beyond / "kept").write_text("kept", encoding="utf-8")
    fit = of(store, "fits")
    (fit / "done.json").unlink()
    shutil.rmtree(fit / "artefact")
    (fit / "artefact").symlink_to(beyond)
    (fit / "metrics.jsonl").symlink_to(beyond / "kept")
    ends(capsys, ["run", *LINEAR], code=0)
    assert {path.name for path in beyond.iterdir()} == {"kept"}
    assert (beyond / "kept").read_text(encoding="utf-8") == "kept"
    study = next(store.glob("studies/ladder-*"))
    shutil.rmtree(study)
    study.symlink_to(beyond)
    ends(capsys, ["compare", *COMPARED], "A link stands")
    shutil.rmtree(fit)
    fit.symlink_to(beyond)
    ends(capsys, ["run", *LINEAR], "A link stands")
