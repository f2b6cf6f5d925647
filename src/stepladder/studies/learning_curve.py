"""Scores by number of training rows, and the number from which on a tuned method is better than the best prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from stepladder.evaluation.tables import Curves, Drawing, Table, TableCell
from stepladder.runs.run import Run
from stepladder.runs.stages import Prepared
from stepladder.studies.results import CurveResult, Overtaking
from stepladder.studies.variants import Variant


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
        overtakes: dict[str, Overtaking] = {}
        for method in self.of("tuned"):
            by_draw = {str(draw): self.overtakes(method, draw) for draw in self.draws}
            reached = [rows for rows in by_draw.values() if rows is not None]
            mean, spread = fmean(reached) if reached else None, stdev(reached) if len(reached) > 1 else None
            overtakes[method] = Overtaking(by_draw, mean, spread, never=len(by_draw) - len(reached))
        return CurveResult(tuple(self.rows), tuple(self.draws), overtakes)

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
        rows: list[list[TableCell]] = []
        for method, each in self.result.overtakes.items():
            by_draw = ", ".join("never" if n is None else str(n) for n in each.by_draw.values())
            rows.append([method, by_draw, each.mean, each.spread, each.never])
        columns = ("tuned", "training rows, draw by draw", "mean", "standard deviation", "draws without")
        note = "the number of rows from which on it stays at least as good as the best prompt with as many rows"
        return Table("When tuning overtakes the best prompt", columns, rows, note)


def once(ready: Sequence[tuple[Variant, Prepared]], key: str) -> list[tuple[Variant, Prepared]]:
    """Each run once. A method whose run is the same for every number of rows is named without a number; the others have
    the number of rows that there really are."""
    runs: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for variant, prepared in ready:
        runs[_method(variant), variant.seed].add(prepared.score_form.key)
    several = len({len(prepared.data.train) for _, prepared in ready}) > 1
    kept: defaultdict[str, dict[int, tuple[Variant, Prepared]]] = defaultdict(dict)
    for variant, prepared in ready:
        level = several and len(runs[_method(variant), variant.seed]) == 1
        name = _method(variant) if level else f"{_method(variant)} {key}={len(prepared.data.train)}"
        kept[name].setdefault(variant.seed, (replace(variant, name=name), prepared))
    return [pair for cell in kept.values() for pair in cell.values()]


def learning_curve(variants: Sequence[Variant], runs: Sequence[Run], metric: str) -> LearningCurve:
    """The curve of the main suite's `metric`. A method with one seed has no draw, and one without a number no rows."""
    seeds: defaultdict[str, set[int]] = defaultdict(set)
    for variant in variants:
        seeds[variant.name].add(variant.seed)
    points = []
    for variant, run in zip(variants, runs, strict=True):
        prepared, inputs = run.prepared, run.prepared.inputs
        main = next(iter(prepared.suites))
        value, prompt = run.scores[main][metric].value, inputs.prompted and not inputs.tunes
        rows = len(prepared.data.train) if " " in variant.name else None
        draw = variant.seed if len(seeds[variant.name]) > 1 else None
        points.append(Point(_method(variant), value, rows, draw, prompt, inputs.tunes))
    return LearningCurve(points)


def _method(variant: Variant) -> str:
    return variant.name.split(" ")[0]
