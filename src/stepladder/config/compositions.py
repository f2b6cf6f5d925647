"""Compositions that were made before, named by all that they depend on: told again without composing.

Knows texts and the user's cache; knows no Hydra. What depends on more than texts (`${oc.env:HOME}`), or names an
address, is never kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepladder.cache import cache_folder, note_down
from stepladder.files import read_json

_MORE = re.compile(r"\$\{[^}\s]*:|searchpath|://")  # resolvers, other folders, and addresses, which may hold a secret

FORM = 1
"""To be raised when a composition is made another way of the same texts."""

Composition = tuple[dict[str, Any], dict[str, Any]]
"""The configuration, and the option chosen of each group."""


def contents_of(folders: Sequence[Path]) -> str:
    """Names and texts of all files of `folders`."""
    return json.dumps(
        [[(str(f.relative_to(folder)), _read(f)) for f in sorted(folder.rglob("*.yaml"))] for folder in folders]
    )


def note_of(lines: Sequence[str], contents: str, versions: Sequence[str]) -> Path | None:
    """Where what `lines` compose to from files with such `contents` is noted; None where texts alone do not say it."""
    whole = json.dumps([FORM, versions, lines]) + contents
    if _MORE.search(whole):
        return None
    return cache_folder() / "compositions" / f"{hashlib.sha256(whole.encode()).hexdigest()}.json"


def told(note: Path | None) -> Composition | None:
    """What was kept under `note`, if anything was."""
    found = read_json(note) if note else None
    return (found["config"], found["choices"]) if found and found.keys() == {"config", "choices"} else None


def keep(note: Path | None, composition: Composition) -> None:
    """Keep it, where it comes back from its text as it is."""
    config, choices = composition
    try:
        text = json.dumps({"config": config, "choices": choices})
    except TypeError:
        return
    if note is not None and json.loads(text) == {"config": config, "choices": choices}:
        note_down(note, text)


def _read(file: Path) -> str:
    return file.read_bytes().decode("utf-8", errors="backslashreplace")
