"""Secrets planted in configuration, environment, command line, addresses and code: in no file, no log and no message.

Every file under the outputs is searched byte by byte, also unpacked, and for the forms that a secret may come back in.
"""

from __future__ import annotations

import base64
import gzip
import html
import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import barrier
import forked
import pytest

from stepladder.cli.entry import main

IN_ENVIRONMENT = {
    "HF_TOKEN": "hf_OfTheEnvironment0123456789",
    "WANDB_API_KEY": "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED123456789",
    "AWS_SECRET_ACCESS_KEY": "wJalrPLANTED/K7MDENG+bPxRfiCY",
    "OPENAI_API_KEY": "sk-plantedOfTheEnvironment77",
    "SERVICE_PASSWORD": "Ge'heim<&>wört 12",
    "SHORT_SECRET": "s3cr3t",
    "SIGNING_KEY": "-----BEGIN PRIVATE KEY-----\nMIIEvPLANTEDlineOne\nMIIEvPLANTEDlineTwo\n-----END PRIVATE KEY-----",
    "DATABASE_URL": "postgresql://me:ofDatabaseUrl55@localhost:1/x",
}
SECRETS = {
    **IN_ENVIRONMENT,
    "DATABASE_URL": "ofDatabaseUrl55",
    "SIGNING_KEY": "MIIEvPLANTEDlineTwo",
    "a tag of the tracking": "hf_OfTheTags0123456789abc",
    "a tag without a shape": "gsk_tags-in-parts-7",
    "a storage's password": "pa%2Fss-of-storage-9",
    "a storage's password, decoded": "pa/ss-of-storage-9",
    "the checkout's diff": "swordfish-of-the-diff",
    "an untracked file": "swordfish-of-the-untracked",
    "the checkout's remote": "ofTheRemote88",
}
TAGS = "tracking.tags=[hf_OfTheTags0123456789abc,gsk_tags-in-parts-7]"
STORAGE = "sweep.storage=postgresql://me:pa%2Fss-of-storage-9@localhost:1/studies"
TRACKED = ["tracking=wandb", TAGS]
LINEAR = ["experiment=first_look", "method=linear", *TRACKED]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with secrets in what is changed, in what is untracked, and in its remote's address."""
    folder = tmp_path_factory.mktemp("project")
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*arguments: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, env=own)

    git("init")
    (folder / "settings.py").write_text("API_KEY = None\n")
    git("add", "settings.py")
    git("commit", "-m", "first")
    git("remote", "add", "origin", "https://me:ofTheRemote88@localhost:1/x.git")
    (folder / "settings.py").write_text('API_KEY = "swordfish-of-the-diff"\n')
    (folder / "new.yaml").write_text("password: 'swordfish-of-the-untracked'\n")
    return folder


@pytest.fixture(autouse=True)
def planted(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    for name, value in IN_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def forms(secret: str) -> Iterator[bytes]:
    for text in (secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], html.escape(secret)):
        yield text.encode()
    yield json.dumps(secret)[1:-1].replace("'", "\\u0027").replace("<", "\\u003c").replace("&", "\\u0026").encode()
    yield base64.b64encode(secret.encode()).rstrip(b"=")[:-1]


def found_in(data: bytes) -> list[str]:
    return [where for where, secret in SECRETS.items() if any(form in data for form in forms(secret))]


def unpacked(data: bytes) -> Iterator[bytes]:
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def leaks(folder: Path) -> dict[str, list[str]]:
    """By file, what of the planted is in its name or its content."""
    found = {}
    for path in folder.rglob("*"):
        texts = [str(path).encode(), *(unpacked(path.read_bytes()) if path.is_file() else ())]
        if any(found_in(text) for text in texts):
            found[str(path.relative_to(folder))] = sorted({name for text in texts for name in found_in(text)})
    return found


def does(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: Sequence[str], code: int = 0
) -> str:
    """Run one command line; nothing planted is printed. Returns stdout."""
    monkeypatch.setattr(sys, "argv", ["stepladder", *words])
    assert main(words) == code
    told = capsys.readouterr()
    assert found_in((told.out + told.err).encode()) == []
    return told.out


def test_the_search_itself_finds_what_is_there(tmp_path: Path) -> None:
    secret = IN_ENVIRONMENT["SERVICE_PASSWORD"]
    for number, form in enumerate(forms(secret)):
        (tmp_path / f"{number}.txt").write_bytes(b"{" + form + b"}")
    (tmp_path / "a.gz").write_bytes(gzip.compress(secret.encode()))
    assert len(leaks(tmp_path)) == number + 2


def test_nothing_planted_is_kept_by_any_verb(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    at = ["--outputs", str(outputs)]
    made = json.loads(does(capsys, monkeypatch, ["run", *LINEAR, *at, "--json"]))
    does(capsys, monkeypatch, ["show", *LINEAR, STORAGE, *at])
    does(capsys, monkeypatch, ["show", *LINEAR, STORAGE, *at, "--json"])
    does(capsys, monkeypatch, ["check", *LINEAR, *at])
    does(capsys, monkeypatch, ["compare", "experiment=first_look", "method=majority,linear", *TRACKED, STORAGE, *at])
    does(capsys, monkeypatch, ["sweep", *LINEAR, "+method.c=choice(1,2)", "sweep.trials=2", *at])
    does(capsys, monkeypatch, ["list", *at])
    does(capsys, monkeypatch, ["diff", made["folders"]["score"], made["folders"]["fit"]])
    does(capsys, monkeypatch, ["reproduce", made["folders"]["score"]])
    questions = tmp_path / "questions.csv"
    questions.write_text("text\nwhat is this\n")
    does(capsys, monkeypatch, ["clean", "--dry-run", *at])
    assert (outputs / "wandb").is_dir()
    assert len(list(outputs.rglob("provenance.json"))) > 5
    assert leaks(outputs) == {}


@pytest.mark.parametrize(
    "words",
    [
        ["run", *LINEAR, "+tracking.key=hf_OfTheTags0123456789abc"],
        ["run", *LINEAR, "+method.token=gsk_tags-in-parts-7"],
        ["run", *LINEAR, "dataset=hf_OfTheTags0123456789abc"],
        ["run", *LINEAR, "dataset=file", "dataset.train=https://me:ofDatabaseUrl55@localhost/rows.csv"],
        ["run", *LINEAR, "--storage", "postgresql://me:pa%2Fss-of-storage-9@localhost:1/studies"],
        ["run", *LINEAR, "--storage=postgresql://me:pa%2Fss-of-storage-9@localhost:1/studies"],
        ["run", *LINEAR, "a b=hf_OfTheTags0123456789abc"],
        ["run", *LINEAR, "comparison.name=hf_OfTheTags0123456789abc"],
        ["sweep", *LINEAR, "+method.c=choice(1,2)", "sweep.name=hf_OfTheTags0123456789abc"],
        ["sweep", *LINEAR, "+method.c=choice(1,2)", STORAGE],
        ["sweep", *LINEAR, "+method.c=choice(1,2)", "sweep.storage=sqlite:///me:pa%2Fss-of-storage-9@localhost/x.db"],
        ["sweep", *LINEAR, "+method.c=choice(1,2)", "sweep.storage='${oc.env:DATABASE_URL}'"],
        ["hf_OfTheTags0123456789abc"],
        ["list", "token=hf_OfTheTags0123456789abc"],
        ["diff", "hf_OfTheTags0123456789abc", "gsk_tags-in-parts-7"],
    ],
)
def test_a_message_about_a_secret_does_not_say_it(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    does(capsys, monkeypatch, [*words, "--outputs", str(tmp_path / "outputs")], code=2)
    assert leaks(tmp_path) == {}


@pytest.mark.parametrize(
    "override",
    [
        "+dataset.task.instruction='say hf_OfTheTags0123456789abc'",
        "+dataset.task.instruction='say s3cr3t'",
        "+dataset.labels={buy:'Authorization: Bearer abcdef012345',sell:x}",
        "dataset.input=https://me:ofDatabaseUrl55@localhost/",
        "+method.password=swordfish",
    ],
)
def test_an_experiment_with_a_secret_is_refused_before_anything_is_written(
    override: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,label\n" + "".join(f"a {n},buy\nb {n},sell\n" for n in range(20)))
    data = ["dataset=file", f"dataset.train={file}", "dataset.input=text", "dataset.target=label", "method=linear"]
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    words = ["run", *data, "tracking=none", override, "--outputs", str(tmp_path / "outputs")]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "a secret must not be in a configuration" in told
    assert override.partition("=")[0].lstrip("+") in told
    assert found_in(told.encode()) == []
    assert not (tmp_path / "outputs").exists()
    assert leaks(tmp_path) == {}


@pytest.mark.parametrize(
    "override",
    [
        "+dataset.labels={password_reset:forgotten,token:'a coin, or a key',api_key:lost}",
        "+dataset.task.instruction='Which token is meant? Say the password: reset or change.'",
        "decoding.max_new_tokens=7",
        "training.learning_rate=0.001",
    ],
)
def test_what_only_sounds_like_a_secret_stays_legible(
    override: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "hf_rows_2024.csv"
    labels = ("password_reset", "token", "api_key")
    file.write_text("text,label\n" + "".join(f"{label} {n},{label}\n" for n in range(20) for label in labels))
    data = ["dataset=file", f"dataset.train={file}", "dataset.input=text", "dataset.target=label", "method=majority"]
    assert main(["run", *data, override, "tracking=none", "--outputs", str(tmp_path / "outputs"), "--json"]) == 0
    folder = Path(json.loads(capsys.readouterr().out)["folders"]["score"])
    assert "***" not in (folder / "config.yaml").read_text()
    assert "hf_rows_2024.csv" in (folder / "config.yaml").read_text()
    told = json.loads((folder / "provenance.json").read_text())
    assert "***" not in json.dumps([told["config"], told["command"]])


def test_a_bug_s_traceback_has_no_secret(tmp_path: Path) -> None:
    """A class of the user's breaks with secrets in its hands, in this process and in a worker's."""
    (tmp_path / "mine.py").write_text(
        "import os\nfrom stepladder.methods.baselines import Majority\n"
        "class Broken(Majority):\n"
        "    def fit(self, *data, **more):\n"
        "        raise RuntimeError(' and '.join(os.environ[name] for name in os.environ['SAID'].split()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    environment["SAID"] = " ".join(IN_ENVIRONMENT)
    words = ["experiment=first_look", "method=majority", "method._target_=mine.Broken", "--trust", "mine", *TRACKED]
    for verb in (["run"], ["run", STORAGE]):
        command = [sys.executable, "-m", "stepladder", *verb, *words, "--outputs", str(tmp_path / "outputs")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "RuntimeError: *** and ***" in done.stderr
        assert found_in((done.stdout + done.stderr).encode()) == []
    assert leaks(tmp_path / "outputs") == {}


def test_workers_of_a_sweep_log_no_secret(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    words = ["sweep", *LINEAR, "+method.c=choice(1,2)", "sweep.trials=2", "sweep.workers=2", "--outputs", str(outputs)]
    done = forked.run(words)
    assert done.returncode == 0, done.stderr
    done = forked.run([*words, STORAGE])
    assert done.returncode == 2
    assert list(outputs.glob("studies/*/workers/*.log"))
    assert leaks(outputs) == {}


@pytest.mark.slow
def test_a_killed_run_leaves_no_secret(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    words = ["run", "experiment=first_look", "method=finetune", *TRACKED, *barrier.held, "--outputs", str(outputs)]
    environment = barrier.environment(tmp_path / "held", step=3)
    running = forked.begin(words, environment)
    barrier.wait_until_held(environment, running)
    running.kill()
    running.wait()
    assert list(outputs.glob("fits/*/provenance.json"))
    assert leaks(outputs) == {}


@pytest.mark.parametrize("named", [True, False])
def test_a_study_on_postgresql_keeps_no_password(
    named: bool,
    postgresql: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A server of the tests trusts its own machine, so that any password opens it."""
    start, _, place = postgresql.partition("@")
    if start.count(":") > 1:
        pytest.skip("this server asks for a password of its own")
    url = f"{start}:pa%2Fss-of-storage-9@{place}"
    monkeypatch.setenv("STUDIES", url)
    storage = "sweep.storage='${oc.env:STUDIES}'" if named else f"sweep.storage={url}"
    words = ["sweep", *LINEAR, "+method.c=choice(1,2)", storage, "--outputs", str(tmp_path)]
    words += [f"sweep.name=kept-{random.SystemRandom().getrandbits(32)}"]
    does(capsys, monkeypatch, [*words, "sweep.trials=1"])
    does(capsys, monkeypatch, [*words, "sweep.trials=2", "sweep.workers=2"])
    does(capsys, monkeypatch, [*words, "--status"])
    assert not list(tmp_path.rglob("study.journal"))
    assert leaks(tmp_path) == {}
