"""A comparison as Markdown, for report.md.

Draws the exhibits of `sections`; computes no statistics. Names come from config and data, so they are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from stepladder.evaluation.exhibits import Table
from stepladder.reports import sections

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
LONGEST = 400  # characters of a cell
WHOLE = (
    sections.tuning,
    sections.quality,
    sections.to_recommended,
    sections.tuned_differences,
    sections.differences,
    sections.costs,
    sections.bills,
    sections.break_even,
    sections.checklist,
    sections.gate,
)
LISTS = (
    ("Is the tuned method better?", "tuned"),
    ("Evidence", "rests_on"),
    ("What would change this", "would_change"),
)
"""Titles of the verdict's lists."""


def markdown(comparison: Mapping[str, Any], exhibits: Sequence[tuple[str, Sequence[Mapping[str, Any]]]] = ()) -> str:
    """The text of report.md; `exhibits` of suites by a title, as scores.json has them."""
    verdict = comparison["verdict"]
    parts = [f"# {_plain(comparison.get('title') or comparison['study'])}"]
    parts.append(f"**{_plain(sections.heading(verdict))}.** {_plain(verdict['reason'])}")
    for title, lines in LISTS:
        if verdict.get(lines):
            parts += [f"{title}:", "\n".join(f"- {_plain(line)}" for line in verdict[lines])]
    for table in _tables(comparison):
        parts += [f"## {_plain(table.title)}", *_drawn(table.columns, table.rows, table.note)]
    curve = [("Learning curve", comparison["curve"])] if comparison.get("curve") else []
    for title, found in (*curve, *exhibits):
        parts.append(f"## {_plain(title)}")
        for exhibit in found:
            parts += [f"### {_plain(exhibit['title'])}", *_exhibit(exhibit)]
    rows = sections.row_account(comparison)
    parts += ["## Rows", rows] if rows else []
    return printable("\n\n".join(parts) + "\n")


def _tables(comparison: Mapping[str, Any], makers: Sequence[Callable[..., Table | None]] = WHOLE) -> Iterator[Table]:
    for make in makers:
        made = make(comparison)
        if made is not None:
            yield made


def _exhibit(exhibit: Mapping[str, Any]) -> list[str]:
    """A table as it is; curves as the points that they go through."""
    if exhibit["kind"] == "table":
        return _drawn(exhibit["columns"], exhibit["rows"], exhibit["note"])
    rows = [[name, x, y] for name, points in exhibit["lines"].items() for x, y in points]
    return _drawn(["line", exhibit["x"], exhibit["y"]], rows, exhibit["note"])


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
