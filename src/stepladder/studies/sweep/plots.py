"""Plots as SVG: points, lines and bars on scaled axes. Knows numbers and names; knows no trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

Value: TypeAlias = str | int | float | bool | None
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 260, 80, 20, 12, 44


@dataclass(frozen=True)
class Axis:
    """From a value to a share of the axis, 0 to 1, with the values that are written at it."""

    ticks: tuple[tuple[float, str], ...]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    places: Mapping[str, float] | None = None

    @classmethod
    def of(cls, values: Sequence[Value], log: bool = False) -> Axis:
        """An axis that holds all of `values`: numbers by size, anything else side by side in order of appearance."""
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(values) or not values:
            texts = list(dict.fromkeys(str(v) for v in values))
            places = {text: (at + 0.5) / len(texts) for at, text in enumerate(texts)}
            return cls(tuple((place, text) for text, place in places.items()), places=places)
        scaled = [math.log(n) for n in numbers] if log else numbers
        low, high = min(scaled), max(scaled)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
        low, high = low - room, high + room
        marks = [low + (high - low) * share for share in (0.05, 0.35, 0.65, 0.95)]
        ticks = tuple(((m - low) / (high - low), f"{math.exp(m) if log else m:.3g}") for m in marks)
        return cls(ticks, low, high, log)

    def __call__(self, value: Value) -> float:
        if self.places is not None:
            return self.places[str(value)]
        number = float(value)  # type: ignore[arg-type]
        return ((math.log(number) if self.log else number) - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Mark:
    """A point with what is told of it; `kind` is its class in the page's style."""

    x: Value
    y: Value
    told: str
    kind: str = "complete"


def scatter(marks: Sequence[Mark], x: str, y: str, log: bool = False, steps: Sequence[tuple[Value, Value]] = ()) -> str:
    """Points over two axes, with a stepped line through `steps`."""
    across = Axis.of([m.x for m in marks] + [s[0] for s in steps], log)
    up = Axis.of([m.y for m in marks] + [s[1] for s in steps])
    parts = [_axes(across, up, x, y)]
    if steps:
        first, *others = [(_x(across(a)), _y(up(b))) for a, b in steps]
        path = f"M{first[0]:.1f} {first[1]:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in others)
        parts.append(f'<path class="line" d="{path}"/>')
    parts += [
        f'<circle class="{m.kind}" cx="{_x(across(m.x)):.1f}" cy="{_y(up(m.y)):.1f}" r="4">'
        f"<title>{escape(m.told)}</title></circle>"
        for m in marks
    ]
    return _svg(parts)


def lines(curves: Mapping[str, tuple[Mapping[int, float], str]], x: str, y: str) -> str:
    """A curve a name: its values by step, and its class."""
    across = Axis.of([step for curve, _ in curves.values() for step in curve])
    up = Axis.of([value for curve, _ in curves.values() for value in curve.values() if math.isfinite(value)])
    parts = [_axes(across, up, x, y)]
    for name, (curve, kind) in curves.items():
        points = [(across(s), up(v)) for s, v in sorted(curve.items()) if math.isfinite(v)]
        path = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="{kind}" points="{path}"><title>{escape(name)}</title></polyline>')
        parts += [f'<circle class="{kind}" cx="{_x(a):.1f}" cy="{_y(b):.1f}" r="2"/>' for a, b in points]
    return _svg(parts)


def bars(shares: Mapping[str, float]) -> str:
    """A bar a name, the longest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    longest, parts = max(shares.values()) or 1.0, []
    for at, (name, share) in enumerate(ordered):
        top, width = TOP + at * 26, (WIDTH - 300) * share / longest
        parts.append(f'<text x="200" y="{top + 14}" text-anchor="end">{escape(name)}</text>')
        parts.append(f'<rect class="bar" x="208" y="{top}" width="{width:.1f}" height="18"/>')
        parts.append(f'<text x="{214 + width:.1f}" y="{top + 14}">{share:.2f}</text>')
    return _svg(parts, TOP * 2 + 26 * len(ordered))


def parallel(rows: Sequence[Mapping[str, Value]], names: Sequence[str], logs: set[str], kinds: Sequence[str]) -> str:
    """A line a row over one upright axis a name; a row without a value there goes by beneath the axis."""
    axes = {name: Axis.of([row[name] for row in rows if name in row], name in logs) for name in names}
    apart = (WIDTH - 2 * LEFT) / max(1, len(names) - 1)
    parts = []
    for row, kind in zip(rows, kinds, strict=True):
        points = [
            f"{LEFT + at * apart:.1f},{_y(axes[name](row[name])) if name in row else HEIGHT - BOTTOM + 8:.1f}"
            for at, name in enumerate(names)
        ]
        told = ", ".join(f"{name}={value}" for name, value in row.items())
        parts.append(f'<polyline class="{kind}" points="{" ".join(points)}"><title>{escape(told)}</title></polyline>')
    for at, name in enumerate(names):
        x = LEFT + at * apart
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts += [f'<text x="{x + 4:.1f}" y="{_y(s):.1f}">{escape(text)}</text>' for s, text in axes[name].ticks]
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name.split(".")[-1])}</text>')
    return _svg(parts)


def _axes(across: Axis, up: Axis, x: str, y: str) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']
    parts += [
        f'<text x="{_x(s):.1f}" y="{bottom + 14}" text-anchor="middle">{escape(t)}</text>' for s, t in across.ticks
    ]
    parts += [f'<text x="{LEFT - 6}" y="{_y(s) + 4:.1f}" text-anchor="end">{escape(t)}</text>' for s, t in up.ticks]
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - RIGHT - LEFT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)


def _svg(parts: Sequence[str], height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'
