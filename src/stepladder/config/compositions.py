"""Compositions that were made before, named by all that they depend on: told again without composing.

Knows texts and the user's cache; knows no Hydra. What depends on more than texts (`${oc.env:HOME}`), or names an
address, is never kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stepladder.io.cache import cache_folder, note_down
from stepladder.io.files import read_json

_MORE = re.compile(r"\$\{[^}\s]*:|searchpath|://")  # resolvers, other folders, and addresses, which may hold a secret

FORM = 2
"""To be raised when a composition is made another way of the same texts."""


@dataclass(frozen=True)
class Composition:
    """The configuration, the option chosen of each group, and what a person should know: values of an experiment file
    that are `dropped`, overrides that leave everything `unchanged`."""

    config: dict[str, Any]
    choices: dict[str, Any]
    dropped: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


def contents_of(folders: Sequence[Path], without: str = "") -> str:
    """Names and texts of all files of `folders`, but for those below `without`."""
    return json.dumps(
        [
            [(str(name), _read(folder / name)) for name in _names(folder) if not without or name.parts[0] != without]
            for folder in folders
        ]
    )


def _names(folder: Path) -> list[Path]:
    return sorted(file.relative_to(folder) for file in folder.rglob("*.yaml"))


def note_of(lines: Sequence[str], contents: str, versions: Sequence[str]) -> Path | None:
    """Where what `lines` compose to from files with such `contents` is noted; None where texts alone do not say it."""
    whole = json.dumps([FORM, versions, lines]) + contents
    if _MORE.search(whole):
        return None
    return cache_folder() / "compositions" / f"{hashlib.sha256(whole.encode()).hexdigest()}.json"


def told(note: Path | None) -> Composition | None:
    """What was kept under `note`, if anything was."""
    found = read_json(note) if note else None
    if not found or found.keys() != {"config", "choices", "dropped", "unchanged"}:
        return None
    return Composition(found["config"], found["choices"], tuple(found["dropped"]), tuple(found["unchanged"]))


def keep(note: Path | None, composition: Composition) -> None:
    """Keep it, where it comes back from its text as it is."""
    try:
        text = json.dumps(asdict(composition))
    except TypeError:
        return
    found = json.loads(text)
    if note is not None and found["config"] == composition.config and found["choices"] == composition.choices:
        note_down(note, text)


def _read(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="backslashreplace")
