"""Validates the files of a store when they are read, and the record that finishes a directory."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from stepladder.config.value_types import fits
from stepladder.types import Plain

Number = int | float
Fields: TypeAlias = Mapping[str, Any]
"""The type of a value, by its name."""
FIGURE = {"value": Number, "low": Number, "high": Number, "n": int}
CHECK_RESULT = {"name": str, "value": Number | bool, "told": str, "odd": bool, "stops": bool}
PREDICTION = {
    "id": str, "text": str, "probabilities": Mapping[str, Number] | None, "shown": list[str], "prompt_tokens": int,
    "new_tokens": int, "seconds": Number, "failure": str | None, "prompt_hash": str | None,
    "question": str, "expected": list[str],
}  # fmt: skip
MORE_OF_PREDICTION = {"calls": int, "candidates": list[str]}
"""Fields that predictions of earlier versions lack."""
COSTS = {
    "questions": int, "prompt_tokens": int, "new_tokens": int, "prompt_tokens_per_question": Number, "failures": int,
    "new_tokens_per_question": Number, "seconds_per_question": Number, "seconds_p50": Number, "seconds_p95": Number,
}  # fmt: skip
PROVENANCE: Fields = {
    "time": str, "stepladder": str, "folder": str, "python": str, "platform": str, "devices": Plain,
    "distributions": Mapping[str, str], "source": str, "code": Plain | None, "config": Plain,
    "compute": Plain, "data": Mapping[str, Plain], "weights": Mapping[str, Mapping[str, str]],
    "command": list[str], "environment": Mapping[str, str], "engine": str,
    "server": Plain,
}  # fmt: skip


@dataclass(frozen=True)
class DoneRecord:
    """done.json, the last file of a finished directory.

    key: of the directory. facts: figures of its making. finished: when, in ISO 8601. files: the hash of every file, by
    its path. replacing: the previous hash of a file that is being rewritten.
    """

    key: str
    facts: Plain
    finished: str
    files: Mapping[str, str] = field(default_factory=dict)
    replacing: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> Plain:
        """Plain data, as in the file."""
        plain = {"key": self.key, "facts": self.facts, "finished": self.finished, "files": dict(self.files)}
        return plain | ({"replacing": dict(self.replacing)} if self.replacing else {})

    @classmethod
    def read(cls, stored: Any, kind: str) -> DoneRecord | None:
        """The record in plain data; None where it is not what a finished stage of this kind writes."""
        if not has(stored, {"key": str, "facts": Plain, "finished": str}):
            return None
        listed = [stored.get("files", {}), stored.get("replacing", {})]
        if not re.fullmatch("[0-9a-f]{32}", stored["key"]) or not all(fits(each, Mapping[str, str]) for each in listed):
            return None
        record = cls(stored["key"], stored["facts"], stored["finished"], *listed)
        outside = any(name.startswith("/") or ".." in name.split("/") for name in {**record.files, **record.replacing})
        checks = record.facts.get("gate", [])
        sound = isinstance(checks, list) and all(has(check, CHECK_RESULT) for check in checks)
        return record if sound and not outside and _sound(record.facts, kind) else None


def has(value: Any, fields: Fields) -> bool:
    """Whether `value` is a mapping with all of `fields`, each of its type; it may have others too."""
    return isinstance(value, Mapping) and all(name in value and fits(value[name], of) for name, of in fields.items())


def only(value: Any, fields: Fields) -> dict[str, Any]:
    """The entries of a mapping that have the types in `fields`."""
    found = value if isinstance(value, Mapping) else {}
    return {name: found[name] for name, of in fields.items() if name in found and fits(found[name], of)}


def _sound(facts: Plain, kind: str) -> bool:
    """Whether a stage of this kind writes such facts."""
    if kind == "fits":
        return all(isinstance(value, int | float | None) for name, value in facts.items() if name != "gate")
    if kind == "predictions":
        return has(facts, COSTS) and facts["questions"] > 0
    suites: Any = facts.get("scores")
    figures = fits(suites, Mapping[str, Plain]) and all(has(f, FIGURE) for s in suites.values() for f in s.values())
    return figures and fits(facts.get("left_out", {}), Mapping[str, Mapping[str, str]])


def rows_of(record: Any) -> Sequence[tuple[str, str]]:
    """The pairs (id, hash) of a stored list of rows; none where it is another list."""
    listed = record.get("rows") if isinstance(record, Mapping) else None
    pairs = [tuple(row) for row in listed if isinstance(row, list)] if isinstance(listed, list) else []
    return [(row[0], row[1]) for row in pairs if len(row) == 2 and all(isinstance(text, str) for text in row)]
