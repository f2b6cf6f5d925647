"""The size of the user's cache is limited."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepladder.io import cache


def test_the_older_half_of_many_notes_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "NOTES", 6)
    folder = tmp_path / "notes"
    for at in range(6):
        cache.note_down(folder / str(at), "a note")
        os.utime(folder / str(at), (at, at))
    assert len(list(folder.iterdir())) == 6
    cache.note_down(folder / "newest", "a note")
    assert sorted(note.name for note in folder.iterdir()) == ["3", "4", "5", "newest"]


def test_a_deleted_hash_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "NOTES", 1)
    for name in "ab":
        (tmp_path / name).write_text(name)
    assert [cache.file_hash(tmp_path / name) for name in "abab"] == [cache.content_hash(tmp_path / n) for n in "abab"]
