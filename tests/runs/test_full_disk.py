"""A full disk, a folder that can not be written, a file that vanished: a clear word, exit 2, and nothing is lost.

The disk is full for one process by its limit on the size of files, which the kernel keeps: a write beyond it fails in
the middle of a file, as on a full disk. Where tests run as root, who may write anywhere, the command is denied that.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import forked
import pytest

from stepladder.cli.entry import main
from stepladder.io.files import UNFINISHED, write_text
from stepladder.models.toy import ToyCheckpoint

SOURCE = str(Path(__file__).parents[2] / "src")
RUN = ["run", "experiment=first_look", "tracking=none"]


def command(words: Sequence[str], size: int | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """No file of the process may grow beyond `size` bytes."""
    return forked.run(words, {**os.environ, **more}, size)


def interpreter(
    words: Sequence[str], size: int | None = None, bound: bool = False, **more: str
) -> subprocess.CompletedProcess[str]:
    """An interpreter of its own, whose end is seen too; `bound`: permissions bind it, also where it runs as root."""
    limit = None if size is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))
    prefix = ["setpriv", "--bounding-set", "-dac_override"] if bound and os.geteuid() == 0 else []
    if prefix and not shutil.which("setpriv"):
        pytest.skip("these tests run as root, and there is no setpriv to be bound by permissions")
    environment = {**os.environ, "PYTHONPATH": SOURCE, "PYTHONDONTWRITEBYTECODE": "1", **more}
    return subprocess.run(
        [*prefix, sys.executable, "-m", "stepladder", *words],
        env=environment, preexec_fn=limit, capture_output=True, text=True, check=False,
    )  # fmt: skip


def told_well(done: subprocess.CompletedProcess[str], *wanted: str) -> None:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    for text in wanted:
        assert text in done.stderr


def whole(outputs: Path) -> list[Path]:
    """The folders that count as finished; every file that they name is there as it was."""
    finished = sorted(done.parent for done in outputs.glob("*/*/done.json"))
    for folder in finished:
        made = json.loads((folder / "done.json").read_text())["files"]
        assert all((folder / name).is_file() for name in made)
    return finished


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The user's cache, in which all is that these commands keep there."""
    folder = tmp_path_factory.mktemp("cache")
    for method in ("linear", "rag", "finetune"):
        command(["check", *RUN[1:], f"method={method}"], STEPLADDER_CACHE=str(folder))
    return str(folder)


@pytest.mark.parametrize(
    ("method", "size"), [("linear", 200), ("linear", 3_000), ("rag", 3_000), ("finetune", 3_000), ("finetune", 30_000)]
)
def test_a_full_disk_is_told_and_the_same_command_goes_on(method: str, size: int, cache: str, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    words = [*RUN, f"method={method}", "--outputs", str(outputs)]
    done = (interpreter if method == "linear" else command)(words, size, STEPLADDER_CACHE=cache)
    told_well(done, str(outputs), "the space left")
    before = whole(outputs)
    assert not [folder for folder in before if folder.parent.name == "scores"]
    done = command(words, STEPLADDER_CACHE=cache)
    assert done.returncode == 0, done.stderr
    assert set(before) < set(whole(outputs))
    assert not list(outputs.rglob(f"{UNFINISHED}*"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model in a directory, whose files are hashed; the hashes are cached."""
    folder = tmp_path_factory.mktemp("model")
    toy = ToyCheckpoint().load("cpu")
    toy.module.save_pretrained(str(folder))
    toy.tokenizer.save_pretrained(str(folder))
    return f"model.path='{folder}'"


def test_a_full_disk_of_the_cache_is_told(model: str, tmp_path: Path) -> None:
    words = [*RUN, "method=zero_shot", "model=folder", model, "--outputs", str(tmp_path / "outputs")]
    done = command(words, 40, STEPLADDER_CACHE=str(tmp_path / "cache"))
    told_well(done, "The cache cannot be written", str(tmp_path / "cache"), "STEPLADDER_CACHE")


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_fit_whose_adapter_finds_no_room_goes_on_to_the_same_bytes(adapter: str, tmp_path: Path) -> None:
    words = [*RUN, "method=finetune", f"adapter={adapter}"]
    undisturbed = command([*words, "--outputs", str(tmp_path / "undisturbed"), "--json"])
    artefact = Path(json.loads(undisturbed.stdout)["folders"]["fit"]) / "artefact"
    (weights,) = artefact.glob("*.safetensors")
    size = weights.stat().st_size - 1000
    told_well(command([*words, "--outputs", str(tmp_path / "full")], size), "File too large")
    assert whole(tmp_path / "full") == []
    done = command([*words, "--outputs", str(tmp_path / "full"), "--json"])
    made = Path(json.loads(done.stdout)["folders"]["fit"]) / "artefact" / weights.name
    assert made.read_bytes() == weights.read_bytes()


def test_a_study_on_a_full_disk_goes_on(tmp_path: Path) -> None:
    words = ["sweep", "experiment=first_look", "method=linear", "tracking=none", "+method.c=choice(1,2,3)"]
    words += ["sweep.sampler=grid", "--outputs", str(tmp_path / "outputs"), "--json"]
    done = command([*RUN, "method=linear", "--outputs", str(tmp_path / "outputs")])
    assert done.returncode == 0
    told_well(command(words, 1_200), "File too large")
    done = command(words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["complete"] == 3


def test_with_tracking_a_full_disk_is_told_too(tmp_path: Path) -> None:
    words = ["run", "experiment=first_look", "tracking=wandb", "method=linear", "--outputs", str(tmp_path / "outputs")]
    told_well(command(words, 3_000, WANDB_MODE="offline"))
    done = command(words, WANDB_MODE="offline")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("words", [["show", "experiment=first_look"], ["show", "experiment=first_look", "--json"]])
def test_a_full_stdout_is_told(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "stepladder", *words],
            env={**os.environ, "PYTHONPATH": SOURCE}, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    told_well(done, "No space left on device", "stdout")


@pytest.mark.parametrize("text", ["a" * 100_000, "short but long enough"])
def test_a_text_is_whole_or_not_there(text: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_text(file, "before")
    code = "import resource, sys; from pathlib import Path; from stepladder.io.files import write_text\n"
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
    code += f"try:\n    write_text(Path({str(file)!r}), {text!r})\nexcept OSError as e:\n    print(e.filename)"
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == str(file)
    assert file.read_text() == "before"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("place", ["", "fits", "locks"])
def test_outputs_that_can_not_be_written_are_told(place: str, cache: str, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert main([*RUN, "method=linear", "--outputs", str(outputs)]) == 0
    before = whole(outputs)
    locked = [outputs / place, *(path for path in (outputs / place).rglob("*"))]
    for path in locked:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        words = [*RUN, "method=majority", "--outputs", str(outputs)]
        told_well(interpreter(words, bound=True, STEPLADDER_CACHE=cache), "Permission denied", str(outputs))
        assert whole(outputs) == before
        read = interpreter(["list", "--outputs", str(outputs)], bound=True, STEPLADDER_CACHE=cache)
        assert "linear-toy" in read.stdout
    finally:
        for path in locked:
            path.chmod(path.stat().st_mode | 0o200)


@pytest.mark.parametrize("there", ["a file", "a file in it"])
def test_outputs_that_are_a_file_are_told(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    (outputs if there == "a file" else tmp_path / "outputs").write_text("mine") if there == "a file" else None
    if there == "a file in it":
        outputs.mkdir()
        (outputs / "fits").write_text("mine")
    assert main([*RUN, "method=linear", "--outputs", str(outputs)]) == 2
    told = capsys.readouterr().err
    assert str(outputs) in told
    assert "--outputs" in told
    left = outputs if there == "a file" else outputs / "fits"
    assert left.read_text() == "mine"


@pytest.mark.parametrize("method", ["zero_shot", "finetune"])
def test_a_cache_that_can_not_be_written_is_told(method: str, model: str, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    words = [*RUN, f"method={method}", "model=folder", model, "--outputs", str(tmp_path / "outputs")]
    cache.chmod(0o555)
    done = interpreter(words, bound=True, STEPLADDER_CACHE=str(cache))
    told_well(done, "The cache cannot be written", str(cache), "STEPLADDER_CACHE")
    done = interpreter(words, bound=True, STEPLADDER_CACHE=str(cache / "in it"))
    told_well(done, "The cache directory cannot be created", "STEPLADDER_CACHE")
    (tmp_path / "file").write_text("")
    done = command(words, STEPLADDER_CACHE=str(tmp_path / "file"))
    told_well(done, "The cache directory cannot be created", "STEPLADDER_CACHE")
    assert not (tmp_path / "outputs").exists()


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"a {n},buy\nb {n},sell\n" for n in range(20)))
    return file


def of(rows: Path, outputs: Path) -> list[str]:
    data = ["dataset=file", f"dataset.train={rows}", "dataset.input=text", "dataset.target=label", "method=linear"]
    return [*data, "tracking=none", "--outputs", str(outputs)]


def test_a_data_file_that_vanished_is_told(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    assert main(["check", *of(rows, outputs)]) == 0
    rows.rename(rows.with_suffix(".gone"))
    assert main(["run", *of(rows, outputs)]) == 2
    assert f"There is no file {rows}" in capsys.readouterr().err
    assert not (outputs / "fits").exists()
    rows.with_suffix(".gone").rename(rows)
    assert main(["run", *of(rows, outputs), "--json"]) == 0
    folder = json.loads(capsys.readouterr().out)["folders"]["score"]
    rows.unlink()
    assert main(["reproduce", folder]) == 2
    assert f"There is no file {rows}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("gone", "code"),
    [
        ("fits/*/full.yaml", 2),
        ("fits/*/artefact/*", 2),
        ("predictions/*/predictions.jsonl", 2),
        ("scores/*/full.yaml", 2),
        ("fits/*/done.json", 0),
        ("scores/*/done.json", 0),
        ("fits/*", 0),
        ("predictions/*", 0),
        ("indexes", 0),
        ("locks", 0),
    ],
)
def test_what_vanished_of_a_store_is_told_or_made_again(
    gone: str, code: int, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "outputs"
    assert main(["run", *of(rows, outputs)]) == 0
    if code == 2 or gone.startswith("fits/*/"):
        shutil.rmtree(outputs / ("predictions" if gone.startswith("fits/*/artefact") else "studies"), True)
    for path in outputs.glob(gone):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if gone.startswith("predictions/*/"):
        shutil.rmtree(outputs / "scores")
    capsys.readouterr()
    assert main(["run", *of(rows, outputs)]) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert code == 0 or str(outputs) in told
