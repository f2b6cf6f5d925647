"""Plots as SVG: points, lines, bars and intervals on scaled axes. Labels never overlap."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeAlias

from stepladder.evaluation.tables import Curves

Value: TypeAlias = str | int | float | bool | None
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 260, 80, 20, 12, 44
LETTER, LINE = 7.0, 13  # width of a letter and height of a line of text, in units of the drawing
NAME = 31  # letters of a name that fit beside a row


@dataclass(frozen=True)
class Axis:
    """Maps a value to its place on the axis, 0 to 1, and has the tick labels."""

    ticks: tuple[tuple[float, str], ...]
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    places: Mapping[str, float] | None = None

    @classmethod
    def of(cls, values: Sequence[Value], log: bool = False) -> Axis:
        """An axis that holds all of `values`: numbers by size, other values in order of appearance."""
        numbers = [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < len(values) or not values:
            texts = list(dict.fromkeys(str(v) for v in values))
            places = {text: (at + 0.5) / len(texts) for at, text in enumerate(texts)}
            return cls(tuple((place, text) for text, place in places.items()), places=places)
        scaled = [math.log(n) for n in numbers] if log else numbers
        low, high = min(scaled), max(scaled)
        room = (high - low) * 0.05 or abs(high) * 0.05 or 0.5
        low, high = low - room, high + room
        marks = _powers(math.exp(low), math.exp(high)) if log else _round_steps(low, high)
        places_ = [((math.log(m) if log else m) - low) / (high - low) for m in marks]
        ticks = tuple((place, f"{m:.4g}") for place, m in zip(places_, marks, strict=True))
        return cls(ticks, low, high, log)

    def __call__(self, value: Value) -> float:
        if self.places is not None:
            return self.places[str(value)]
        number = float(value)  # type: ignore[arg-type]
        return ((math.log(number) if self.log else number) - self.low) / (self.high - self.low)


def _round_steps(low: float, high: float) -> list[float]:
    """Some four to eight values between, at steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw * 0.999)
    return [round(step * n, 12) for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """Powers of ten between, finer where there are few of them."""
    whole = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), tuple(range(1, 10))):
        found = [each * 10.0**n for n in whole for each in digits if low <= each * 10.0**n <= high]
        if len(found) >= 3:
            return found
    return _round_steps(low, high)


@dataclass(frozen=True)
class Mark:
    """A point with its tooltip; `kind` is its class in the page's style."""

    x: Value
    y: Value
    tooltip: str
    kind: str = "complete"


def scatter(marks: Sequence[Mark], x: str, y: str, log: bool = False, steps: Sequence[tuple[Value, Value]] = ()) -> str:
    """Points over two axes, with a stepped line through `steps`."""
    across = Axis.of([m.x for m in marks] + [s[0] for s in steps], log)
    up = Axis.of([m.y for m in marks] + [s[1] for s in steps])
    parts = [_axes(across, up, x, y)]
    if steps:
        first, *others = [(_x(across(a)), _y(up(b))) for a, b in steps]
        way = f"M{first[0]:.1f} {first[1]:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in others)
        parts.append(_path("line", way))
    parts += [_dot(m.kind, _x(across(m.x)), _y(up(m.y)), 4, m.tooltip) for m in marks]
    return _svg(parts, description=f"{y} by {x}, {len(marks)} points")


def lines(curves: Mapping[str, tuple[Mapping[int, float], str]], x: str, y: str) -> str:
    """One curve per name: its values by step, and its CSS class."""
    across = Axis.of([step for curve, _ in curves.values() for step in curve])
    up = Axis.of([value for curve, _ in curves.values() for value in curve.values() if math.isfinite(value)])
    parts = [_axes(across, up, x, y)]
    for name, (curve, kind) in curves.items():
        points = [(_x(across(s)), _y(up(v))) for s, v in sorted(curve.items()) if math.isfinite(v)]
        parts += [_polyline(kind, points, name), *(_dot(kind, a, b, 2) for a, b in points)]
    return _svg(parts, description=f"{y} by {x}, {len(curves)} lines")


def bars(shares: Mapping[str, float]) -> str:
    """One bar per name, the longest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    longest, parts = max(shares.values()) or 1.0, []
    left = min(360.0, LETTER * max(len(name) for name in shares) + 12)
    for at, (name, share) in enumerate(ordered):
        top, width = TOP + at * 26, (WIDTH - left - 50) * share / longest
        parts.append(_text(_short(name, int((left - 12) / LETTER)), left - 8, top + 14, "end"))
        parts.append(f'<rect class="bar" x="{left:.1f}" y="{top}" width="{width:.1f}" height="18"/>')
        parts.append(_text(f"{share:.2f}", left + 6 + width, top + 14))
    description = "; ".join(f"{name} {share:.2f}" for name, share in ordered)
    return _svg(parts, TOP * 2 + 26 * len(ordered), description)


@dataclass(frozen=True)
class Whisker:
    """A value with its interval, at `x` where there is such an axis."""

    name: str
    value: float
    low: float
    high: float
    x: float = 0.0
    best: bool = False

    @property
    def kind(self) -> str:
        return "best" if self.best else "plain"

    @property
    def tooltip(self) -> str:
        return f"{self.name}: {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def against(whiskers: Sequence[Whisker], x: str, y: str, guides: Mapping[str, float]) -> str:
    """Values with intervals over a cost that is drawn by its logarithm; `guides` are horizontal lines.

    The names are in a column at the right, each joined to its point by a line.
    """
    kinds = ["chosen" if w.best else "" for w in whiskers] + ["soft" for _ in guides]
    labels = [textwrap.wrap(name, 36) or [""] for name in (*(w.name for w in whiskers), *guides)]
    heights = [LINE * len(label) + 2.0 for label in labels]
    height = max(340, TOP + BOTTOM + sum(heights))
    least = min((w.x for w in whiskers if w.x > 0), default=1.0)
    across = Axis.of([max(w.x, least) for w in whiskers], log=True)
    up = Axis.of([*(w.low for w in whiskers), *(w.high for w in whiskers), *guides.values()])
    dots = [(_x(across(max(w.x, least))), _y(up(w.value), height)) for w in whiskers]
    edge = float(WIDTH - RIGHT)
    levels = [_y(up(level), height) for level in guides.values()]
    targets = [*dots, *((edge, at) for at in levels)]
    places = _apart([b for _, b in targets], heights, TOP, height - BOTTOM)
    parts = [_axes(across, up, x, y, height)]
    parts += [_path("guide", f"M{LEFT} {at:.1f}H{edge:.1f}") for at in levels]
    for (a, b), label, kind, at in zip(targets, labels, kinds, places, strict=True):
        begin = a if a == edge else a + 7
        parts.append(_path("leader", f"M{begin:.1f} {b:.1f}L{edge + 12:.1f} {at:.1f}h6"))
        top = at + 4 - LINE * (len(label) - 1) / 2
        parts += [_text(line, edge + 22, top + LINE * n, kind=kind) for n, line in enumerate(label)]
    for each, (a, b) in zip(whiskers, dots, strict=True):
        low, high = _y(up(each.low), height), _y(up(each.high), height)
        way = f"M{a:.1f} {low:.1f}V{high:.1f}M{a - 4:.1f} {low:.1f}h8M{a - 4:.1f} {high:.1f}h8"
        parts += [_path(f"whisker {each.kind}", way), _dot(each.kind, a, b, 5, each.tooltip)]
    wide = math.ceil(edge + 26 + LETTER * max(len(line) for label in labels for line in label))
    description = f"{y} with 95% intervals against {x}: " + "; ".join(w.tooltip for w in whiskers)
    return _svg(parts, height, description, max(WIDTH, wide))


def _apart(wanted: Sequence[float], heights: Sequence[float], top: float, bottom: float) -> list[float]:
    """Middles of labels of these heights, each as near to where it is wanted as the others and the edges allow."""
    order = sorted(range(len(wanted)), key=lambda at: (round(wanted[at]), at))
    middles = dict.fromkeys(order, 0.0)
    edge = top
    for at in order:
        middles[at] = max(wanted[at], edge + heights[at] / 2)
        edge = middles[at] + heights[at] / 2
    edge = bottom
    for at in reversed(order):
        middles[at] = min(middles[at], edge - heights[at] / 2)
        edge = middles[at] - heights[at] / 2
    return [middles[at] for at in range(len(wanted))]


def forest(whiskers: Sequence[Whisker], x: str) -> str:
    """One row per name: its value and interval on one axis, with a line at zero. Long names are above their row."""
    stacked = any(len(w.name) > NAME for w in whiskers)
    names = [textwrap.wrap(w.name, 96) if stacked else [w.name] for w in whiskers]
    above = [LINE * len(name) if stacked else 0 for name in names]
    left, room = (30, 24) if stacked else (LETTER * max((len(w.name) for w in whiskers), default=0) + 24, 26)
    axis, bottom = Axis.of([end for w in whiskers for end in (w.low, w.high)] + [0.0]), TOP + room * len(whiskers)
    bottom += sum(above)

    def place(share: float) -> float:
        return left + share * (WIDTH - RIGHT - left)

    parts = [_path("axis", f"M{left:.1f} {bottom}H{WIDTH - RIGHT}")]
    for share, text in axis.ticks:
        parts.append(_path("grid", f"M{place(share):.1f} {TOP}V{bottom}"))
        parts.append(_text(text, place(share), bottom + 14, "middle", "soft"))
    parts.append(_path("guide", f"M{place(axis(0.0)):.1f} {TOP}V{bottom}"))
    top: float = TOP
    for each, name, higher in zip(whiskers, names, above, strict=True):
        at, kind = top + higher + room / 2, "chosen" if each.best else ""
        if stacked:
            parts += [_text(line, left - 20, top + LINE * n, kind=kind) for n, line in enumerate(name, start=1)]
        else:
            parts.append(_text(each.name, left - 10, at + 4, "end", kind))
        parts.append(
            _path(f"whisker {each.kind}", f"M{place(axis(each.low)):.1f} {at:.1f}H{place(axis(each.high)):.1f}")
        )
        parts.append(_dot(each.kind, place(axis(each.value)), at, 4.5, each.tooltip))
        top += room + higher
    parts.append(_text(x, (left + WIDTH) / 2, bottom + 32, "middle"))
    return _svg(parts, math.ceil(bottom) + 40, f"{x}, with 95% intervals: " + "; ".join(w.tooltip for w in whiskers))


def curves(drawn: Curves) -> str:
    """Lines through their points, with colours and a legend."""
    points = [point for line in drawn.lines.values() for point in line if all(math.isfinite(v) for v in point)]
    if not points:
        return _svg([_text("no points", 20, TOP + 14)], 40, drawn.title)
    both = [value for point in points for value in point]
    across = Axis.of(both if drawn.diagonal else [a for a, _ in points])
    up = Axis.of(both if drawn.diagonal else [b for _, b in points])
    columns = 1 if any(len(name) > 24 for name in drawn.lines) else 3
    rows = math.ceil(len(drawn.lines) / columns)
    height = HEIGHT + (18 * rows if len(drawn.lines) > 1 else 0)
    parts = [_axes(across, up, drawn.x, drawn.y)]
    if drawn.diagonal:
        low, high = min(both), max(both)
        ends = f"M{_x(across(low)):.1f} {_y(up(low)):.1f}L{_x(across(high)):.1f} {_y(up(high)):.1f}"
        parts.append(_path("guide", ends))
    for number, (name, line) in enumerate(drawn.lines.items()):
        colour, sound = f"curve c{number % 6}", [p for p in line if all(math.isfinite(v) for v in p)]
        places = [(_x(across(a)), _y(up(b))) for a, b in sound]
        parts.append(_polyline(colour, places, name))
        if len(sound) <= 60:
            for (a, b), (x, y) in zip(places, sound, strict=True):
                parts.append(_dot(colour, a, b, 2.5, f"{name}: {x:.4g}, {y:.4g}"))
        if len(drawn.lines) > 1:
            a, b = LEFT + (number % columns) * 180, HEIGHT + 10 + 18 * (number // columns)
            parts.append(f'<rect class="{colour}" x="{a}" y="{b - 8}" width="10" height="10"/>')
            parts.append(_text(_short(name, 84), a + 15, b + 1))
    description = f"{drawn.title}: {drawn.y} by {drawn.x} for {', '.join(drawn.lines)}"
    return _svg(parts, height, description)


def parallel(rows: Sequence[Mapping[str, Value]], names: Sequence[str], logs: set[str], kinds: Sequence[str]) -> str:
    """Parallel coordinates: one line per row, one axis per name; a missing value is drawn below the axis."""
    axes = {name: Axis.of([row[name] for row in rows if name in row], name in logs) for name in names}
    apart = (WIDTH - 2 * LEFT) / max(1, len(names) - 1)
    parts = []
    for row, kind in zip(rows, kinds, strict=True):
        points = [
            (LEFT + at * apart, _y(axes[name](row[name])) if name in row else HEIGHT - BOTTOM + 8)
            for at, name in enumerate(names)
        ]
        parts.append(_polyline(kind, points, ", ".join(f"{name}={value}" for name, value in row.items())))
    crowded = any(LETTER * len(name.split(".")[-1]) > apart - 6 for name in names)
    for at, name in enumerate(names):
        x, short = LEFT + at * apart, name.split(".")[-1]
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts += [_text(text, x + 4, _y(share)) for share, text in axes[name].ticks]
        below = HEIGHT - 8 + (LINE * at if crowded else 0)  # a line each where they would run into each other
        anchor = "end" if x + LETTER * len(short) / 2 > WIDTH else "middle"
        parts.append(_text(short, x, below, anchor))
    height = HEIGHT + (LINE * len(names) if crowded else 0)
    return _svg(parts, height, f"{len(rows)} rows over {', '.join(names)}")


def _axes(across: Axis, up: Axis, x: str, y: str, height: float = HEIGHT) -> str:
    bottom, right = height - BOTTOM, WIDTH - RIGHT
    parts = [_path("axis", f"M{LEFT} {TOP}V{bottom}H{right}")]
    parts += [_text(text, _x(share), bottom + 14, "middle") for share, text in across.ticks]
    parts += [_text(text, LEFT - 6, _y(share, height) + 4, "end") for share, text in up.ticks]
    parts.append(_text(x, (LEFT + right) / 2, height - 8, "middle"))
    middle = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - RIGHT - LEFT)


def _y(share: float, height: float = HEIGHT) -> float:
    return height - BOTTOM - share * (height - BOTTOM - TOP)


def _text(text: str, x: float, y: float, anchor: str = "", kind: str = "") -> str:
    css = f' class="{kind}"' if kind else ""
    aligned = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{css} x="{x:.1f}" y="{y:.1f}"{aligned}>{escape(text)}</text>'


def _path(kind: str, way: str) -> str:
    return f'<path class="{kind}" d="{way}"/>'


def _dot(kind: str, x: float, y: float, radius: float, tooltip: str = "") -> str:
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}">{title}</circle>'


def _polyline(kind: str, points: Sequence[tuple[float, float]], title: str) -> str:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{kind}" points="{places}"><title>{escape(title)}</title></polyline>'


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _svg(parts: Sequence[str], height: float = HEIGHT, description: str = "", width: int = WIDTH) -> str:
    label = f' aria-label="{escape(description)}"' if description else ""
    return f'<svg viewBox="0 0 {width} {math.ceil(height)}" role="img"{label}>{"".join(parts)}</svg>'
