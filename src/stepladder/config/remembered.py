"""Nodes whose target stands in a heavy package and that were built before: told again without importing the package.

Knows names, plain values and the user's cache. A package of another version, or another value, is another node; what is
made of it is made when somebody asks for it.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stepladder.config.targets import is_light, stands_under
from stepladder.io.cache import cache_folder, note_down
from stepladder.io.files import read_json

HEAVY = ("peft", "torch", "optuna")


@dataclass(frozen=True)
class Later:
    """Makes the object when called: `target`, a dotted name that was resolved before, with plain `arguments`."""

    target: str
    arguments: Mapping[str, Any]

    def __call__(self) -> Any:
        module, _, name = self.target.rpartition(".")
        return getattr(importlib.import_module(module), name)(**self.arguments)


@dataclass(frozen=True)
class Known:
    """What is known of a node that was built: its object, to be made, what its class is made from, and its identity in
    short and in full."""

    later: Later
    lineage: Sequence[str]
    short: Any
    full: Any


def recalled(name: str, arguments: Mapping[str, Any]) -> Known | None:
    """What was remembered of the node; None where it was never built, or where importing it costs nothing."""
    note = None if is_light(name) else _note(name, arguments)
    found = read_json(note) if note else None
    return Known(Later(name, arguments), found["lineage"], found["short"], found["full"]) if found else None


def remember(name: str, arguments: Mapping[str, Any], lineage: Sequence[str], short: Any, full: Any) -> None:
    """Note that the node was built and what it is, where its values are plain and stand for nothing else."""
    note = _note(name, arguments)
    if note is not None and not note.exists():
        note_down(note, json.dumps({"lineage": lineage, "short": short, "full": full}))


def _note(name: str, arguments: Mapping[str, Any]) -> Path | None:
    """Where it is noted; None for a package that may change under one version, or for values that are not plain."""
    if not stands_under(name, HEAVY):
        return None
    try:
        what = json.dumps([3, name, version(name.split(".")[0]), arguments], sort_keys=True)
    except (PackageNotFoundError, TypeError):
        return None
    if "_target_" in what or "${" in what:
        return None
    return cache_folder() / "nodes" / f"{hashlib.sha256(what.encode()).hexdigest()[:32]}.json"
