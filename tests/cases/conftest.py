"""Runs the command line in the test's own process, in an empty directory that the test fills with small files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main


@dataclass(frozen=True)
class Result:
    """What one command left behind: its exit code and both output streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def accuracy(self) -> float:
        value: float = self.json["scores"]["classification"]["accuracy"]["value"]
        return value


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the command: empty, apart from what the test writes."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def stepladder(here: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Runs `stepladder WORDS...` and returns its result. Never raises for a non-zero exit code."""

    def run(*words: str) -> Result:
        capsys.readouterr()
        code = main(list(words))
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return run
