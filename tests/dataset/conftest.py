"""Fixtures that write small data files into a working directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

Write = Callable[[str, Any], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """A function that writes text, bytes or rows into a file of the working directory and returns its name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))

    def write(name: str, content: str | bytes | Iterable[Mapping[str, Any]]) -> str:
        if isinstance(content, bytes):
            Path(name).write_bytes(content)
        elif isinstance(content, str):
            Path(name).write_bytes(content.encode())
        else:
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
            Path(name).write_bytes(lines.encode())
        return name

    return write
