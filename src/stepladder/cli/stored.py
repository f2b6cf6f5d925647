"""The verbs about what is stored: reproduce, diff, list, clean.

Prints what the rooms below tell. Imports nothing heavy before a verb needs it.
"""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Asked


def reproduce(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.studies.reproduce import reproduce as studies

    (folder,) = asked.paths()
    told = studies.reproduce(folder, asked.named_outputs, asked.trust, Terminal())
    _print(asked, told)
    asked.say(f"reproduced in {told['reproduction']} ({told['tolerance']['told']})")
    if asked.verify:
        studies.verify(told)
        asked.say("verified: the reproduction has the same results")
    return told


def diff(asked: Asked) -> dict[str, Any]:
    from stepladder.studies.reproduce import reproduce as studies

    told = studies.diff(*asked.paths())
    _print(asked, told)
    return told


def _print(asked: Asked, told: dict[str, Any]) -> None:
    for line in told["lines"]:
        asked.say(line)


def list_runs(asked: Asked) -> dict[str, Any]:
    from stepladder.store.inventory import inventory, wanted

    found = inventory(asked.outputs, wanted(asked.words))
    rows = [item.as_dict() for item in found]
    for line in _table(rows):
        asked.say(line)
    return {"outputs": str(asked.outputs.absolute()), "runs": rows}


def clean(asked: Asked) -> dict[str, Any]:
    from stepladder.store.inventory import swept, wanted

    told = swept(asked.outputs, wanted(asked.words), asked.dry_run)
    word = "would be removed" if asked.dry_run else "removed"
    for each in told["removed"]:
        asked.say(f"{word}: {each['folder']} ({each['reason']})")
    for folder in told["in_the_making"]:
        asked.say(f"left: {folder} (a process is working on it)")
    for folder in told["broken"]:
        asked.say(f"left: {folder} (it is broken: repair it, or remove it yourself)")
    asked.say(f"{len(told['removed'])} folders, {told['bytes'] / 1e6:.1f} MB {word}")
    return told


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = ("finished", "state", "label", "seed", "metric", "studies", "folder")
    cells = [columns, *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)
