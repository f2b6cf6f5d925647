"""`list`: lists stored runs."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Arguments


def list_runs(args: Arguments) -> dict[str, Any]:
    from stepladder.store.inventory import inventory, wanted

    found = inventory(args.outputs, wanted(args.words))
    rows = [item.as_dict() for item in found]
    for line in _table(rows):
        args.write_line(line)
    return {"outputs": str(args.outputs.absolute()), "runs": rows}


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("finished", "state", "label", "seed", "metric", "studies", "folder")
    cells = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
