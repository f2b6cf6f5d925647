"""Tables and curves as plain values, which every report can draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

TableCell: TypeAlias = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under `columns`. Texts may come from the data; the report that draws them escapes them."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    note: str = ""
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Curves:
    """Named lines through points (x, y); `x` and `y` name the axes, `diagonal` adds the line x = y."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    diagonal: bool = False
    note: str = ""
    kind: Literal["curves"] = "curves"


Drawing: TypeAlias = Table | Curves
