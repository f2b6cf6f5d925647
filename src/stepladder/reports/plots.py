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
        path = f"M{first[0]:.1f} {first[1]:.1f}" + "".join(f"H{a:.1f}V{b:.1f}" for a, b in others)
        parts.append(f'<path class="line" d="{path}"/>')
    parts += [
        f'<circle class="{m.kind}" cx="{_x(across(m.x)):.1f}" cy="{_y(up(m.y)):.1f}" r="4">'
        f"<title>{escape(m.tooltip)}</title></circle>"
        for m in marks
    ]
    return _svg(parts, description=f"{y} by {x}, {len(marks)} points")


def lines(curves: Mapping[str, tuple[Mapping[int, float], str]], x: str, y: str) -> str:
    """One curve per name: its values by step, and its CSS class."""
    across = Axis.of([step for curve, _ in curves.values() for step in curve])
    up = Axis.of([value for curve, _ in curves.values() for value in curve.values() if math.isfinite(value)])
    parts = [_axes(across, up, x, y)]
    for name, (curve, kind) in curves.items():
        points = [(across(s), up(v)) for s, v in sorted(curve.items()) if math.isfinite(v)]
        path = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in points)
        parts.append(f'<polyline class="{kind}" points="{path}"><title>{escape(name)}</title></polyline>')
        parts += [f'<circle class="{kind}" cx="{_x(a):.1f}" cy="{_y(b):.1f}" r="2"/>' for a, b in points]
    return _svg(parts, description=f"{y} by {x}, {len(curves)} lines")


def bars(shares: Mapping[str, float]) -> str:
    """One bar per name, the longest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    longest, parts = max(shares.values()) or 1.0, []
    left = min(360.0, LETTER * max(len(name) for name in shares) + 12)
    for at, (name, share) in enumerate(ordered):
        top, width = TOP + at * 26, (WIDTH - left - 50) * share / longest
        text = escape(_short(name, int((left - 12) / LETTER)))
        parts.append(f'<text x="{left - 8:.1f}" y="{top + 14}" text-anchor="end">{text}</text>')
        parts.append(f'<rect class="bar" x="{left:.1f}" y="{top}" width="{width:.1f}" height="18"/>')
        parts.append(f'<text x="{left + 6 + width:.1f}" y="{top + 14}">{share:.2f}</text>')
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
    labels = [_Label(w.name, "chosen" if w.best else "") for w in whiskers]
    labels += [_Label(name, "soft") for name in guides]
    height = max(340, TOP + BOTTOM + sum(label.height for label in labels))
    least = min((w.x for w in whiskers if w.x > 0), default=1.0)
    across = Axis.of([max(w.x, least) for w in whiskers], log=True)
    up = Axis.of([*(w.low for w in whiskers), *(w.high for w in whiskers), *guides.values()])
    dots = [(_x(across(max(w.x, least))), _y(up(w.value), height)) for w in whiskers]
    edge = float(WIDTH - RIGHT)
    levels = [_y(up(level), height) for level in guides.values()]
    targets = [*dots, *((edge, at) for at in levels)]
    places = _apart([b for _, b in targets], [label.height for label in labels], TOP, height - BOTTOM)
    parts = [_axes(across, up, x, y, height)]
    parts += [f'<path class="guide" d="M{LEFT} {at:.1f}H{edge:.1f}"/>' for at in levels]
    for (a, b), label, at in zip(targets, labels, places, strict=True):
        begin = a if a == edge else a + 7
        parts.append(f'<path class="leader" d="M{begin:.1f} {b:.1f}L{edge + 12:.1f} {at:.1f}h6"/>')
        parts.append(label.drawn(edge + 22, at))
    for each, (a, b) in zip(whiskers, dots, strict=True):
        low, high = _y(up(each.low), height), _y(up(each.high), height)
        parts.append(f'<path class="whisker {each.kind}" d="M{a:.1f} {low:.1f}V{high:.1f}M{a - 4:.1f} {low:.1f}h8"/>')
        parts.append(f'<path class="whisker {each.kind}" d="M{a - 4:.1f} {high:.1f}h8"/>')
        dot = f'<circle class="{each.kind}" cx="{a:.1f}" cy="{b:.1f}" r="5">'
        parts.append(f"{dot}<title>{escape(each.tooltip)}</title></circle>")
    wide = math.ceil(edge + 26 + max(label.width for label in labels))
    description = f"{y} with 95% intervals against {x}: " + "; ".join(w.tooltip for w in whiskers)
    return _svg(parts, height, description, max(WIDTH, wide))


@dataclass(frozen=True)
class _Label:
    """A name in lines of at most 36 letters."""

    name: str
    kind: str

    @property
    def lines(self) -> list[str]:
        return textwrap.wrap(self.name, 36) or [""]

    @property
    def height(self) -> float:
        return LINE * len(self.lines) + 2

    @property
    def width(self) -> float:
        return LETTER * max(len(line) for line in self.lines)

    def drawn(self, x: float, middle: float) -> str:
        """All lines, left-aligned at `x`, centred on `middle`."""
        first = middle + 4 - LINE * (len(self.lines) - 1) / 2
        kind = f' class="{self.kind}"' if self.kind else ""
        return "".join(
            f'<text{kind} x="{x:.1f}" y="{first + LINE * at:.1f}">{escape(line)}</text>'
            for at, line in enumerate(self.lines)
        )


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


def forest(whiskers: Sequence[Whisker], x: str, zero: float | None = 0.0) -> str:
    """One row per name: its value and interval on one axis, with a line at `zero`. Long names are above their row."""
    stacked = any(len(w.name) > NAME for w in whiskers)
    labels = [_Label(w.name, "chosen" if w.best else "") for w in whiskers]
    above = [LINE * len(textwrap.wrap(w.name, 96)) if stacked else 0 for w in whiskers]
    left, room = (30, 24) if stacked else (LETTER * max((len(w.name) for w in whiskers), default=0) + 24, 26)
    ends = [*(w.low for w in whiskers), *(w.high for w in whiskers), *([] if zero is None else [zero])]
    axis, bottom = Axis.of(ends), TOP + room * len(whiskers) + sum(above)

    def place(value: float) -> float:
        return left + axis(value) * (WIDTH - RIGHT - left)

    parts = [f'<path class="axis" d="M{left:.1f} {bottom}H{WIDTH - RIGHT}"/>']
    for share, text in axis.ticks:
        at = left + share * (WIDTH - RIGHT - left)
        parts.append(f'<path class="grid" d="M{at:.1f} {TOP}V{bottom}"/>')
        parts.append(f'<text class="soft" x="{at:.1f}" y="{bottom + 14}" text-anchor="middle">{text}</text>')
    if zero is not None:
        parts.append(f'<path class="guide" d="M{place(zero):.1f} {TOP}V{bottom}"/>')
    top: float = TOP
    for each, label, higher in zip(whiskers, labels, above, strict=True):
        at = top + higher + room / 2
        if stacked:
            for line, text in enumerate(textwrap.wrap(each.name, 96)):
                kind = f' class="{label.kind}"' if label.kind else ""
                parts.append(f'<text{kind} x="{left - 20}" y="{top + LINE * (line + 1):.1f}">{escape(text)}</text>')
        else:
            kind = f' class="{label.kind}"' if label.kind else ""
            parts.append(
                f'<text{kind} x="{left - 10:.1f}" y="{at + 4:.1f}" text-anchor="end">{escape(each.name)}</text>'
            )
        line_ = f"M{place(each.low):.1f} {at:.1f}H{place(each.high):.1f}"
        parts.append(f'<path class="whisker {each.kind}" d="{line_}"/>')
        dot = f'<circle class="{each.kind}" cx="{place(each.value):.1f}" cy="{at:.1f}" r="4.5">'
        parts.append(f"{dot}<title>{escape(each.tooltip)}</title></circle>")
        top += room + higher
    parts.append(f'<text x="{(left + WIDTH) / 2:.1f}" y="{bottom + 32}" text-anchor="middle">{escape(x)}</text>')
    return _svg(parts, math.ceil(bottom) + 40, f"{x}, with 95% intervals: " + "; ".join(w.tooltip for w in whiskers))


def curves(drawn: Curves) -> str:
    """Lines through their points, with colours and a legend."""
    points = [point for line in drawn.lines.values() for point in line if all(math.isfinite(v) for v in point)]
    if not points:
        return _svg([f'<text x="20" y="{TOP + 14}">no points</text>'], 40, drawn.title)
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
        parts.append(f'<path class="guide" d="{ends}"/>')
    for number, (name, line) in enumerate(drawn.lines.items()):
        colour, sound = f"c{number % 6}", [p for p in line if all(math.isfinite(v) for v in p)]
        places = [(_x(across(a)), _y(up(b))) for a, b in sound]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline class="curve {colour}" points="{path}"><title>{escape(name)}</title></polyline>')
        parts += [
            f'<circle class="curve {colour}" cx="{a:.1f}" cy="{b:.1f}" r="2.5">'
            f"<title>{escape(name)}: {x:.4g}, {y:.4g}</title></circle>"
            for (a, b), (x, y) in zip(places, sound, strict=True)
            if len(sound) <= 60
        ]
        if len(drawn.lines) > 1:
            a, b = LEFT + (number % columns) * 180, HEIGHT + 10 + 18 * (number // columns)
            parts.append(f'<rect class="curve {colour}" x="{a}" y="{b - 8}" width="10" height="10"/>')
            parts.append(f'<text x="{a + 15}" y="{b + 1}">{escape(_short(name, 84))}</text>')
    description = f"{drawn.title}: {drawn.y} by {drawn.x} for {', '.join(drawn.lines)}"
    return _svg(parts, height, description)


def parallel(rows: Sequence[Mapping[str, Value]], names: Sequence[str], logs: set[str], kinds: Sequence[str]) -> str:
    """Parallel coordinates: one line per row, one axis per name; a missing value is drawn below the axis."""
    axes = {name: Axis.of([row[name] for row in rows if name in row], name in logs) for name in names}
    apart = (WIDTH - 2 * LEFT) / max(1, len(names) - 1)
    parts = []
    for row, kind in zip(rows, kinds, strict=True):
        points = [
            f"{LEFT + at * apart:.1f},{_y(axes[name](row[name])) if name in row else HEIGHT - BOTTOM + 8:.1f}"
            for at, name in enumerate(names)
        ]
        description = ", ".join(f"{name}={value}" for name, value in row.items())
        parts.append(
            f'<polyline class="{kind}" points="{" ".join(points)}"><title>{escape(description)}</title></polyline>'
        )
    crowded = any(LETTER * len(name.split(".")[-1]) > apart - 6 for name in names)
    for at, name in enumerate(names):
        x, short = LEFT + at * apart, name.split(".")[-1]
        parts.append(f'<line class="axis" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')
        parts += [f'<text x="{x + 4:.1f}" y="{_y(s):.1f}">{escape(text)}</text>' for s, text in axes[name].ticks]
        below = HEIGHT - 8 + (LINE * at if crowded else 0)  # a line each where they would run into each other
        anchor = "end" if x + LETTER * len(short) / 2 > WIDTH else "middle"
        parts.append(f'<text x="{x:.1f}" y="{below}" text-anchor="{anchor}">{escape(short)}</text>')
    height = HEIGHT + (LINE * len(names) if crowded else 0)
    return _svg(parts, height, f"{len(rows)} rows over {', '.join(names)}")


def _axes(across: Axis, up: Axis, x: str, y: str, height: float = HEIGHT) -> str:
    bottom, right = height - BOTTOM, WIDTH - RIGHT
    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']
    parts += [
        f'<text x="{_x(s):.1f}" y="{bottom + 14}" text-anchor="middle">{escape(t)}</text>' for s, t in across.ticks
    ]
    for share, text in up.ticks:
        at = _y(share, height) + 4
        parts.append(f'<text x="{LEFT - 6}" y="{at:.1f}" text-anchor="end">{escape(text)}</text>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{height - 8}" text-anchor="middle">{escape(x)}</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(y)}</text>')
    return "".join(parts)


def _x(share: float) -> float:
    return LEFT + share * (WIDTH - RIGHT - LEFT)


def _y(share: float, height: float = HEIGHT) -> float:
    return height - BOTTOM - share * (height - BOTTOM - TOP)


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _svg(parts: Sequence[str], height: float = HEIGHT, description: str = "", width: int = WIDTH) -> str:
    label = f' aria-label="{escape(description)}"' if description else ""
    return f'<svg viewBox="0 0 {width} {math.ceil(height)}" role="img"{label}>{"".join(parts)}</svg>'
