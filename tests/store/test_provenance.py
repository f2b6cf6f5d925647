"""What a run records about its making."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepladder.store.provenance import DIFF_LIMIT, checkout, depended_on, devices, provenance


def git(folder: Path, *arguments: str) -> None:
    own = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, env=own)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init")
    (tmp_path / "a.py").write_text("one = 1\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-m", "first")
    return tmp_path


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    found = checkout(repository)
    assert found is not None
    assert len(found["commit"]) == 40
    assert (found["dirty"], found["diff"], found["untracked"]) == (False, "", [])


def test_a_changed_checkout_tells_its_change(repository: Path) -> None:
    (repository / "a.py").write_text('one = 2\nAPI_KEY = "swordfish"\n')
    (repository / "new.py").write_text("")
    found = checkout(repository)
    assert found is not None
    assert found["dirty"]
    assert found["masked"]
    assert "+one = 2" in found["diff"]
    assert "swordfish" not in json.dumps(found)
    assert found["untracked"] == ["new.py"]
    (repository / "a.py").write_text('one = 2\nAPI_KEY = "another"\n')
    again = checkout(repository)
    assert again is not None
    assert again["diff_sha256"] != found["diff_sha256"]


def test_untracked_code_is_kept_and_data_is_not(repository: Path) -> None:
    (repository / "mine").mkdir()
    (repository / "mine" / "metric.py").write_text('two = 2\nAPI_KEY = "swordfish"\n')
    (repository / "rows.csv").write_text("text\n")
    (repository / "link.py").symlink_to(repository / "a.py")
    found = checkout(repository)
    assert found is not None
    assert found["added"] == {"mine/metric.py": 'two = 2\nAPI_KEY = "***"\n'}


def test_what_stepladder_needs_is_known_and_what_only_tests_need_is_not() -> None:
    needed = depended_on()
    assert {"torch", "numpy", "hydra-core", "filelock"} <= needed
    assert {"tokenizers", "safetensors"} <= needed
    assert not {"pytest", "mypy", "import-linter"} & needed


def test_the_diff_can_be_applied(repository: Path) -> None:
    (repository / "a.py").write_text("one = 2\n")
    found = checkout(repository)
    assert found is not None
    git(repository, "checkout", "a.py")
    (repository / "patch").write_text(found["diff"])
    git(repository, "apply", "patch")
    assert (repository / "a.py").read_text() == "one = 2\n"


def test_a_huge_diff_is_cut_and_says_so(repository: Path) -> None:
    (repository / "a.py").write_text("x = 1\n" * 300_000)
    found = checkout(repository)
    assert found is not None
    assert found["cut"]
    assert len(found["diff"]) == DIFF_LIMIT


def test_before_the_first_commit_and_outside_of_git(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init")
    found = checkout(tmp_path / "new")
    assert found is not None
    assert found["commit"] is None
    assert found["dirty"]
    (tmp_path / "plain").mkdir()
    assert checkout(tmp_path / "plain") is None


def test_a_run_knows_where_it_comes_from(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "argv", ["stepladder", "run", "model.hub_token=abc"])
    monkeypatch.setenv("HF_TOKEN", "planted-in-the-environment")
    found = provenance(data={"train": "11"}, weights={"base": "22"})
    assert found["command"] == ["stepladder", "run", "model.hub_token=***"]
    assert found["project"]["root"] == str(repository.resolve())
    assert found["distributions"]["numpy"]
    assert len(found["source"]) == 64
    assert (found["data"], found["weights"]) == ({"train": "11"}, {"base": "22"})
    assert "planted" not in json.dumps(found)
    if found["code"] is not None:
        assert Path(found["code"]["root"], "src", "stepladder").is_dir()


def test_devices_without_torch_loads_none() -> None:
    code = "import sys; from stepladder.store.provenance import provenance; provenance(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_devices_are_named() -> None:
    found = devices()
    assert found["processor"]
    assert found["cores"] >= 1
    assert found["memory"] > 2**20
