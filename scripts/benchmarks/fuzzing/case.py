"""A fuzzing case: input files, changes to a store of finished runs, and the commands to run. It runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MARKER = "marker-of-code-that-ran"
"""A file of this name is what hostile code would write."""
SHOWN = 300

Texts = Mapping[str, bytes]
"""The files of a folder of valid inputs, by their relative path."""


@dataclass(frozen=True)
class Change:
    """Something done to a file or folder at `path` (of the case's folder): written, removed, renamed to `other`, made
    a link to `other`, made a folder, or copied from `other`."""

    what: str
    path: str
    content: bytes = b""
    other: str = ""

    def apply(self, folder: Path) -> None:
        path = folder / self.path
        if self.what == "write":
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.rmtree(path)
            path.write_bytes(self.content)
            return
        if self.what == "folder":
            if path.is_file() or path.is_symlink():
                path.unlink()
            path.mkdir(parents=True, exist_ok=True)
            return
        if not path.exists() and not path.is_symlink():
            return
        if self.what == "remove":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif self.what == "rename" and not (folder / self.other).exists():
            path.rename(folder / self.other)
        elif self.what == "link":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            path.symlink_to(self.other)
        elif self.what == "copy":
            there = folder / self.other
            shutil.copytree(path, there, dirs_exist_ok=True) if path.is_dir() else shutil.copy(path, there)


@dataclass(frozen=True)
class Case:
    """`originals`: the folder of good things that is copied into the case's folder first, if any. `files` are written
    then, `changes` made after; `commands` are run in the case's folder."""

    kind: str
    commands: tuple[tuple[str, ...], ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    originals: str | None = None

    def described(self) -> str:
        """The commands and files of the case, for reproducing it by hand."""
        lines = [f"stepladder {json.dumps(list(words), ensure_ascii=True)}" for words in self.commands]
        lines += [f"  {name}: {content[:SHOWN]!r} ({len(content)} bytes)" for name, content in self.files.items()]
        lines += [f"  {c.what} {c.path} {c.other} {c.content[:SHOWN]!r}" for c in self.changes]
        return "\n".join([*lines, f"  in {self.originals}"] if self.originals else lines)
