"""Exhibits: what a suite wants people to see beside its figures, as plain values that any report can draw.

Knows columns and points; knows no prediction, no page and no picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under `columns`; texts may come from the data and are escaped by whoever draws them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "table", **asdict(self)}


@dataclass(frozen=True)
class Curves:
    """Named lines through points (x, y); `x` and `y` name the axes, `diagonal` asks for the line x = y beside them."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    diagonal: bool = False
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"kind": "curves", **asdict(self)}


Exhibit = Table | Curves
