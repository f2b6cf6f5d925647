"""Sweeps of the toy, by the command line, and what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stepladder.cli.entry import main

LINEAR = ["experiment=first_look", "method=linear"]
TUNED = ["experiment=first_look", "method=finetune", "training.validate_every=0.5"]
SPACE = "+method.c=tag(log,interval(0.001,100))"


def asked(capsys: pytest.CaptureFixture[str], outputs: Path, words: Sequence[str]) -> dict[str, Any]:
    """What `sweep --json` prints; the command must succeed."""
    code = main(["sweep", *words, "--outputs", str(outputs), "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    found: dict[str, Any] = json.loads(told.out)
    return found


def refused(capsys: pytest.CaptureFixture[str], outputs: Path, words: Sequence[str], *wanted: str) -> str:
    """Exit 2, one message with all of `wanted`, and no trial."""
    code = main(["sweep", *words, "--outputs", str(outputs), "--json"])
    told = capsys.readouterr()
    assert code == 2, told.err
    assert told.out == ""
    assert "Traceback" not in told.err
    for text in wanted:
        assert text in told.err
    return told.err


def trials(told: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((Path(told["folder"]) / "sweep.json").read_text(encoding="utf-8"))[
        "all_trials"
    ]
    return found
