"""Reads and writes examples and passages as JSON lines, for contexts that are saved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from stepladder.io.files import read_lines, write_lines
from stepladder.types import Example, Message, Passage, Question


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    write_lines(path, (asdict(example) for example in examples))


def read_examples(path: Path) -> Iterator[Example]:
    for row in read_lines(path):
        question = dict(row["question"])
        question["history"] = tuple(Message(**turn) for turn in question["history"])
        question["choices"] = tuple(question["choices"])
        yield Example(Question(**question), tuple(row["answers"]), tuple(row["gold"]))


def write_passages(path: Path, passages: Iterable[Passage]) -> None:
    write_lines(path, (asdict(passage) for passage in passages))


def read_passages(path: Path) -> Iterator[Passage]:
    return (Passage(**row) for row in read_lines(path))
