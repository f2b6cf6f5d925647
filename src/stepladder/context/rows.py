"""Examples and passages as JSON lines: how a context keeps what it may show.

Knows the shape of the records; knows nothing of what is chosen from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepladder.records import Example, Message, Passage, Question


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    _write(path, (asdict(example) for example in examples))


def read_examples(path: Path) -> Iterator[Example]:
    for row in _read(path):
        asked = dict(row["question"])
        asked["history"] = tuple(Message(**turn) for turn in asked["history"])
        asked["choices"] = tuple(asked["choices"])
        yield Example(Question(**asked), tuple(row["answers"]), tuple(row["gold"]))


def write_passages(path: Path, passages: Iterable[Passage]) -> None:
    _write(path, (asdict(passage) for passage in passages))


def read_passages(path: Path) -> Iterator[Passage]:
    return (Passage(**row) for row in _read(path))


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        yield from (json.loads(line) for line in stream)
