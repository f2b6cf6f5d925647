"""The result of a comparison in a terminal: one line per method, then the verdict. It fits 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from stepladder.evaluation.tables import Table
from stepladder.reports.markdown import printable
from stepladder.reports.sections import heading, interval, p_value, per, seeds_of, shortlists, steps
from stepladder.studies.results import Comparison

NARROW = 80
"""Columns of the table where the output is no terminal, or a narrower one."""
GAP = 2


@dataclass(frozen=True)
class _Column:
    title: str
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(cell_len(text) for text in (self.title, *self.cells))


def summary(comparison: Comparison, width: int = NARROW) -> RenderableType:
    """Method, score, difference to the recommended method and cost, in at most `width` columns, and the verdict.

    A name that does not fit into the first column gets its own line, so that none is cut. Wider terminals also show
    the adjusted p-value and the prompt tokens of a question.
    """
    verdict = comparison.verdict
    lines = [Text(line, no_wrap=True, overflow="ignore") for line in _table(comparison, max(width, NARROW))]
    texts = [
        _paragraph(line, width) for table in (shortlists(comparison), steps(comparison)) for line in _sentences(table)
    ]
    texts = [
        _paragraph(_notes(comparison), width, "dim"),
        *texts,
        Text(""),
        _paragraph(heading(verdict), width, "bold"),
    ]
    texts += [_paragraph(printable(line), width) for line in (verdict.reason, *(f"- {t}" for t in verdict.tuned))]
    return Group(*lines, *texts)


def _paragraph(text: str, width: int, style: str = "") -> Text:
    """A text in lines of at most `width` columns, without spaces at their ends."""
    return Text("\n".join(_wrapped(text, width, indent="")), style=style, no_wrap=True, overflow="ignore")


def _table(comparison: Comparison, width: int) -> list[str]:
    names = [printable(" ".join(cell.name.split())) for cell in comparison.cells]
    columns, extra = _columns(comparison)
    longest = max(cell_len(name) for name in (*names, "method"))
    for column in extra:
        if longest + _room([*columns, column]) <= width:
            columns = [*columns, column]
    first = min(longest, width - _room(columns))
    header = _line("method", [column.title for column in columns], columns, first)
    lines = [header, "-" * min(width, first + _room(columns))]
    for at, name in enumerate(names):
        cells = [column.cells[at] for column in columns]
        if cell_len(name) > first:
            lines += [*_wrapped(name, width), _line("", cells, columns, first)]
        else:
            lines.append(_line(name, cells, columns, first))
    return [line.rstrip() for line in lines]


def _room(columns: Sequence[_Column]) -> int:
    return sum(GAP + column.width for column in columns)


def _line(name: str, cells: Sequence[str], columns: Sequence[_Column], first: int) -> str:
    left = name + " " * (first - cell_len(name))
    return left + "".join(
        " " * (GAP + column.width - cell_len(cell)) + cell for cell, column in zip(cells, columns, strict=True)
    )


def _wrapped(text: str, width: int, indent: str = "  ") -> list[str]:
    """A long text over several lines: broken at spaces, and within a word only where the word alone is too long."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
            continue
        lines.append(indent)
        if cell_len(word) <= width - cell_len(indent):
            lines[-1] += word
            continue
        for sign in word:
            if cell_len(lines[-1] + sign) > width:
                lines.append(indent)
            lines[-1] += sign
    return [line for line in lines if line.strip()]


def _columns(comparison: Comparison) -> tuple[list[_Column], list[_Column]]:
    """The columns that are always shown, and those for wider terminals."""
    cells, verdict = comparison.cells, comparison.verdict
    metric, recommended = verdict.metric, verdict.recommended
    role = "recommended" if recommended else "best"
    others = [cell.to_recommended if recommended else cell.to_best for cell in cells]
    found = [None if other is None else other.difference.get(metric) for other in others]
    signs = ["*" if each is not None and (each.better or each.worse) else " " for each in found]
    marked = [f"{interval(each, '{:+.3f}') or f'({role})'}{sign}" for each, sign in zip(found, signs, strict=True)]
    bills = comparison.bills.methods
    many, _ = per(comparison.bills.unit)
    costs = [comparison.runs_of(cell.name)[0].costs for cell in cells]
    shown = [
        _Column(metric, [interval(cell.scores[metric]) for cell in cells]),
        _Column(f"to {role}", marked),
        _Column("setup", [_short(bills[cell.name].setup) for cell in cells]),
        _Column("request", [_short(bills[cell.name].request * many) for cell in cells]),
    ]
    extra = [
        _Column("adjusted p", ["" if each is None else p_value(each.adjusted_p) for each in found]),
        _Column("prompt tokens", [f"{each.prompt_tokens_per_question:,.0f}" for each in costs]),
    ]
    return shown, extra


def _short(value: float) -> str:
    """Two significant digits below one, three from one on; an exponent only where the number is long without it."""
    if value == 0:
        return "0"
    digits = max(0, (2 if abs(value) >= 1 else 1) - floor(log10(abs(value))))
    if digits > 6:
        return f"{value:.0e}"
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.3g}M" if abs(value) < 1e9 else f"{value:.2e}"
    return f"{value:,.{digits}f}"


def _sentences(table: Table | None) -> list[str]:
    """The rows of a table as lines: the first column, then the others with their names."""
    if table is None:
        return []
    return [
        f"{row[0]}: " + ", ".join(f"{n} {c}" for n, c in zip(table.columns[1:], row[1:], strict=True))
        for row in table.rows
    ]


def _notes(comparison: Comparison) -> str:
    cells, unit = comparison.cells, comparison.bills.unit
    n = comparison.verdict.questions
    notes = [f"{n:,} test {'question' if n == 1 else 'questions'}, [95% interval]"]
    if len(cells) > 1:
        notes.append("* significant (adjusted p < 0.05)")
    _, words = per(unit)
    notes.append("setup and request in seconds" if unit == "s" else f"setup in {unit}, request: {words}")
    if several := seeds_of(comparison):
        notes.append(several)
    return "; ".join(notes) + "."
