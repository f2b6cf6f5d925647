"""Scores by number of training rows, and the number from which on a tuned method is better than the best prompt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from stepladder.evaluation.tables import Curves, Drawing, Table, TableCell
from stepladder.studies.results import CurveResult, Overtaking


@dataclass(frozen=True)
class Point:
    """The `value` of `method` after learning from `rows` rows, the `draw`-th so many. `rows` and `draw` are None where
    the method learns from none, or draws nothing. prompt: it reads a prompt and is not tuned. tuned: it is."""

    method: str
    value: float
    rows: int | None = None
    draw: int | None = None
    prompt: bool = False
    tuned: bool = False


class LearningCurve:
    """All points of one comparison; a method without rows or draws has its value at all of them."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.points = tuple(points)
        self.rows = sorted({p.rows for p in points if p.rows is not None})
        self.draws = sorted({p.draw for p in points if p.draw is not None}) or [0]
        self.methods = list(dict.fromkeys(p.method for p in points))
        self._values = {(p.method, p.rows, p.draw): p.value for p in points}

    def value(self, method: str, rows: int, draw: int) -> float | None:
        for key in ((rows, draw), (rows, None), (None, draw), (None, None)):
            if (method, *key) in self._values:
                return self._values[(method, *key)]
        return None

    def values(self, method: str, rows: int) -> list[float]:
        """Over the draws."""
        found = (self.value(method, rows, draw) for draw in self.draws)
        return [value for value in found if value is not None]

    def of(self, trait: str) -> list[str]:
        return [m for m in self.methods if any(getattr(p, trait) for p in self.points if p.method == m)]

    def overtakes(self, method: str, draw: int) -> int | None:
        """The least number of rows from which on the method is at least as good as the best prompt with as many; None
        where it is not at the greatest number either."""
        found = None
        for rows in reversed(self.rows):
            ours = self.value(method, rows, draw)
            prompts = [v for m in self.of("prompt") if (v := self.value(m, rows, draw)) is not None]
            if ours is None or not prompts or ours < max(prompts):
                break
            found = rows
        return found

    @property
    def result(self) -> CurveResult:
        overtakes = {method: self._overtaking(method) for method in self.of("tuned")}
        return CurveResult(tuple(self.rows), tuple(self.draws), overtakes)

    def _overtaking(self, method: str) -> Overtaking:
        by_draw = {draw: self.overtakes(method, draw) for draw in self.draws}
        reached = [rows for rows in by_draw.values() if rows is not None]
        return Overtaking(
            by_draw={str(draw): rows for draw, rows in by_draw.items()},
            mean=fmean(reached) if reached else None,
            spread=stdev(reached) if len(reached) > 1 else None,
            never=len(by_draw) - len(reached),
        )

    def drawings(self, metric: str) -> tuple[Drawing, ...]:
        lines = {
            method: [(float(rows), fmean(values)) for rows in self.rows if (values := self.values(method, rows))]
            for method in self.methods
        }
        note = f"means over {len(self.draws)} draws of the training rows; a smaller number is a part of a greater one"
        columns = ("method", "training rows", f"mean {metric}", "standard deviation", "least", "greatest", "draws")
        return (
            Curves("Learning curve", "training rows", metric, lines, note=note),
            Table("Scores by training rows", columns, list(self._table())),
            self._overtaking_table(),
        )

    def _table(self) -> Iterator[list[TableCell]]:
        for method in self.methods:
            for rows in self.rows:
                values = self.values(method, rows)
                if values:
                    spread = stdev(values) if len(values) > 1 else None
                    yield [method, rows, fmean(values), spread, min(values), max(values), len(values)]

    def _overtaking_table(self) -> Table:
        rows: list[list[TableCell]] = [
            [
                method,
                ", ".join("never" if n is None else str(n) for n in each.by_draw.values()),
                each.mean,
                each.spread,
                each.never,
            ]
            for method, each in self.result.overtakes.items()
        ]
        columns = ("tuned", "training rows, draw by draw", "mean", "standard deviation", "draws without")
        note = "the number of rows from which on it stays at least as good as the best prompt with as many rows"
        return Table("When tuning overtakes the best prompt", columns, rows, note)
