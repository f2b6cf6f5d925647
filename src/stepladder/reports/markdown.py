"""A comparison as Markdown, for report.md. Names come from config and data, so they are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from stepladder.evaluation.tables import Drawing, Table
from stepladder.reports import sections
from stepladder.studies.results import Comparison, Verdict

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
LONGEST = 400  # characters of a cell
WHOLE: Sequence[Callable[[Comparison], Table | None]] = (
    sections.tuning,
    sections.quality,
    sections.shortlists,
    sections.steps,
    sections.to_recommended,
    sections.tuned_differences,
    sections.differences,
    sections.costs,
    sections.bills,
    sections.break_even,
    sections.checklist,
    sections.preflight,
)


def lists(verdict: Verdict) -> list[tuple[str, Sequence[str]]]:
    """The lists of the verdict that are not empty, under their titles."""
    found = (
        ("Is the tuned method better?", verdict.tuned),
        ("Evidence", verdict.rests_on),
        ("What would change this", verdict.would_change),
    )
    return [(title, lines) for title, lines in found if lines]


def markdown(comparison: Comparison, drawings: Sequence[tuple[str, Sequence[Drawing]]] = ()) -> str:
    """The text of report.md; `drawings` are tables and curves of suites under titles."""
    verdict = comparison.verdict
    parts = [f"# {_plain(comparison.title or comparison.study)}"]
    parts.append(f"**{_plain(sections.heading(verdict))}.** {_plain(verdict.reason)}")
    for title, lines in lists(verdict):
        parts += [f"{title}:", "\n".join(f"- {_plain(line)}" for line in lines)]
    for table in filter(None, (make(comparison) for make in WHOLE)):
        parts += [f"## {_plain(table.title)}", *_drawn(table.columns, table.rows, table.note)]
    curve = [("Learning curve", comparison.curve)] if comparison.curve else []
    for title, found in (*curve, *drawings):
        parts.append(f"## {_plain(title)}")
        for drawing in found:
            parts += [f"### {_plain(drawing.title)}", *_drawing(drawing)]
    rows = sections.row_counts(comparison)
    parts += ["## Rows", rows] if rows else []
    return printable("\n\n".join(parts) + "\n")


def _drawing(drawing: Drawing) -> list[str]:
    """A table as it is; curves as the points that they go through."""
    if isinstance(drawing, Table):
        return _drawn(drawing.columns, drawing.rows, drawing.note)
    rows = [[name, x, y] for name, points in drawing.lines.items() for x, y in points]
    return _drawn(["line", drawing.x, drawing.y], rows, drawing.note)


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[Any]], note: str) -> list[str]:
    lines = [columns, ["---"] * len(columns), *([shown(field) for field in row] for row in rows)]
    drawn = "\n".join("| " + " | ".join(_plain(field) for field in line) + " |" for line in lines)
    return [drawn, _plain(note)] if note else [drawn]


def shown(field: Any) -> str:
    """A cell as text: numbers to four figures, nothing for None, long texts cut."""
    if field is None:
        return ""
    text = f"{field:.4g}" if isinstance(field, float) else str(field)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def printable(text: str) -> str:
    """`text` with replacement characters for control characters and halves of surrogate pairs."""
    return _UNPRINTABLE.sub("\ufffd", text)


def _plain(text: str) -> str:
    """`text` in one line of Markdown, with no column, no HTML, no emphasis and no link of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("](", "]\\(")
    plain = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain)
    for sign in ("|", "*", "`"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
