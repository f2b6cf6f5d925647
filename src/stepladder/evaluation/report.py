"""A comparison for people: Markdown for report.md, tables for the terminal.

Knows the JSON object of `stepladder compare` and nothing behind it; computes no statistics. Names come from config and
data, so they are escaped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Rows = list[list[str]]
COSTS = {
    "trained_parameters": ("trained parameters", "{:,.0f}"),
    "training_seconds": ("training s", "{:,.1f}"),
    "prompt_tokens_per_question": ("prompt tokens/question", "{:,.1f}"),
    "new_tokens_per_question": ("new tokens/question", "{:,.1f}"),
    "seconds_per_question": ("s/question", "{:,.4f}"),
}
TUNED = (
    "Every rung was tuned with the same budget, on the validation rows; each winner was then scored on the test rows."
)
NOTES = (
    "Square brackets hold 95 % intervals. Differences are paired: both rungs answered the same questions. "
    "p is two-sided, adjusted over all rungs by Holm's method; a large p does not show that there is no difference."
)


def markdown(comparison: Mapping[str, Any]) -> str:
    """The text of report.md."""
    verdict = comparison["verdict"]
    parts = [f"# {_plain(comparison['study'])}", f"**Recommended: {_plain(verdict['recommended'] or 'none')}.** "]
    parts[-1] += _plain(verdict["reason"])
    if comparison.get("tuning"):
        parts += ["## Tuning", _markdown_table(*_tuning(comparison)), TUNED]
    parts += ["## Quality", _markdown_table(*_quality(comparison))]
    parts += ["## Differences", _markdown_table(*_differences(comparison)), NOTES]
    parts += ["## Costs", _markdown_table(*_costs(comparison))]
    rows = _row_account(comparison)
    parts += ["## Rows", rows] if rows else []
    return "\n\n".join(parts) + "\n"


def table(comparison: Mapping[str, Any]) -> RenderableType:
    """The ladder, its differences, its costs and the verdict, for a terminal."""
    verdict = comparison["verdict"]
    tuning = [_rich_table("Tuning", *_tuning(comparison))] if comparison.get("tuning") else []
    return Group(
        *tuning,
        _rich_table("Quality", *_quality(comparison)),
        _rich_table("Differences", *_differences(comparison)),
        _rich_table("Costs", *_costs(comparison)),
        Text(f"Recommended: {verdict['recommended'] or 'none'}", style="bold"),
        Text(verdict["reason"]),
    )


def _quality(comparison: Mapping[str, Any]) -> tuple[list[str], Rows]:
    metrics = _metrics(comparison)
    rows = [
        [_named(cell, comparison), *(_interval(cell["scores"].get(metric), "{:.3f}") for metric in metrics)]
        for cell in comparison["cells"]
    ]
    return ["rung", *metrics], rows


def _tuning(comparison: Mapping[str, Any]) -> tuple[list[str], Rows]:
    main, rows = comparison["verdict"].get("metric") or _metrics(comparison)[0], []
    for cell in comparison["cells"]:
        found = comparison["tuning"].get(cell["name"], {})
        value = "" if found.get("value") is None else f"{found['value']:.3f}"
        cost = [
            f"{found.get('trials', 0)}",
            f"{found.get('seconds', 0.0):,.0f}",
            f"{found.get('training_tokens', 0):,}",
        ]
        winner = " ".join(found.get("overrides", [])) or "nothing to tune"
        rows.append([_named(cell, comparison), *cost, winner, value, _interval(cell["scores"].get(main), "{:.3f}")])
    return ["rung", "trials", "s", "training tokens", "winner", "on validation", f"{main} on test"], rows


def _differences(comparison: Mapping[str, Any]) -> tuple[list[str], Rows]:
    header = ["rung", "metric", f"to {comparison['baseline']}", "p", "to the rung below", "p below"]
    rows = []
    for cell in comparison["cells"]:
        for metric in _metrics(comparison):
            first = cell.get("difference", {}).get(metric)
            second = cell.get("to_below", {}).get("difference", {}).get(metric)
            if first or second:
                rows.append([_named(cell, comparison), metric, *_difference(first), *_difference(second)])
    return header, rows


def _costs(comparison: Mapping[str, Any]) -> tuple[list[str], Rows]:
    rows = []
    for cell in comparison["cells"]:
        runs: list[Mapping[str, Any]] = [row["costs"] for row in comparison["rows"] if row["name"] == cell["name"]]
        found: list[list[float]] = [[run[cost] for run in runs if run.get(cost) is not None] for cost in COSTS]
        shown = [
            form.format(fmean(values)) if values else ""
            for values, (_, form) in zip(found, COSTS.values(), strict=True)
        ]
        rows.append([_named(cell, comparison), *shown])
    return ["rung", *(title for title, _ in COSTS.values())], rows


def _row_account(comparison: Mapping[str, Any]) -> str:
    """What the data's rows came to, in one sentence; every row of a comparison has the same data."""
    found: Mapping[str, Any] = next((row["rows"] for row in comparison["rows"] if row.get("rows")), {})
    return ", ".join(f"{name} {found[name]:,}" for name in found if isinstance(found[name], int))


def _metrics(comparison: Mapping[str, Any]) -> list[str]:
    """The main metric first, then the others as they come."""
    names = dict.fromkeys(metric for cell in comparison["cells"] for metric in cell["scores"])
    main = comparison["verdict"].get("metric")
    return sorted(names, key=lambda name: name != main)


def _named(cell: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    runs = sum(row["name"] == cell["name"] for row in comparison["rows"])
    return str(cell["name"]) if runs < 2 else f"{cell['name']} ({runs} seeds)"


def _difference(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return ["", ""]
    p = found["p_adjusted"]
    return [_interval(found, "{:+.3f}"), "< 0.001" if p < 0.001 else f"{p:.3f}"]


def _interval(found: Mapping[str, Any] | None, form: str) -> str:
    if not found:
        return ""
    value, low, high = (form.format(found[key] + 0.0) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _markdown_table(header: Sequence[str], rows: Rows) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_plain(field) for field in line) + " |" for line in lines)


def _rich_table(title: str, header: Sequence[str], rows: Rows) -> Table:
    drawn = Table(title=title, title_justify="left")
    for position, name in enumerate(header):
        drawn.add_column(Text(name), justify="left" if position == 0 else "right")
    for row in rows:
        drawn.add_row(*(Text(field) for field in row))
    return drawn


def _plain(text: str) -> str:
    """`text` in one line of Markdown, with no column, no HTML, no emphasis and no link of its own."""
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("](", "]\\(")
    plain = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", plain)
    for sign in ("|", "*", "`"):
        plain = plain.replace(sign, f"\\{sign}")
    return plain
