"""Results as JSON and back: names, values that are left out, and data that is not what it should be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from stepladder.errors import StoreError
from stepladder.io.serialise import from_plain, inline, optional, read, to_plain, write


@dataclass(frozen=True)
class Point:
    x: float
    label: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Whole:
    points: tuple[Point, ...]
    named: Mapping[str, Point | None]
    pair: tuple[int, str]
    rows: Sequence[Sequence[str | int | None]]
    message: str = field(metadata={"json": "told"})
    secret: str = field(default="", metadata={"json": None})
    note: str | None = optional()
    more: Mapping[str, float] = inline()


WHOLE = Whole((Point(1), Point(2.5, "b")), {"p": Point(3), "q": None}, (1, "two"), (("x", None), ("y", 2)), "hello")
PLAIN: dict[str, Any] = {
    "points": [{"x": 1, "label": "a"}, {"x": 2.5, "label": "b"}],
    "named": {"p": {"x": 3, "label": "a"}, "q": None},
    "pair": [1, "two"],
    "rows": [["x", None], ["y", 2]],
    "told": "hello",
}


def test_a_value_is_written_under_its_names_and_read_back(tmp_path: Path) -> None:
    assert json.loads(json.dumps(to_plain(WHOLE))) == PLAIN
    assert from_plain(Whole, PLAIN, "here") == WHOLE
    write(tmp_path / "whole.json", WHOLE)
    assert read(Whole, tmp_path / "whole.json") == WHOLE
    assert read(Whole, tmp_path / "other.json") is None


def test_optional_and_inline_fields() -> None:
    more = {**PLAIN, "note": "n", "loss": 0.5}
    found = from_plain(Whole, more, "here")
    assert (found.note, found.more) == ("n", {"loss": 0.5})
    assert json.loads(json.dumps(to_plain(found))) == more


def test_entries_without_a_field_are_ignored() -> None:
    assert from_plain(Point, {"x": 1.0, "label": "b", "new": [1]}, "here") == Point(1.0, "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [{"x": "1"}]}, r"points\[0\]\.x is not of type float"),
        ({"points": [{"label": "a"}]}, r"points\[0\]\.x is missing"),
        ({"points": [{"x": True}]}, r"points\[0\]\.x is not of type float"),
        ({"points": [{"x": 1, "label": "c"}]}, r"points\[0\]\.label"),
        ({"named": {"p": 3}}, r"named\.p"),
        ({"pair": [1]}, "pair"),
        ({"pair": ["1", "two"]}, r"pair\[0\] is not of type int"),
        ({"told": None}, "told is not of type str"),
        ({"rows": "x"}, "rows"),
    ],
)
def test_other_data_is_refused_with_its_place(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        from_plain(Whole, {**PLAIN, **change}, "here")
