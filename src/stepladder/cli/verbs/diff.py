"""`diff`: what differs between two stored runs, and what can explain it."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Asked


def diff(asked: Asked) -> dict[str, Any]:
    from stepladder.studies.reproduce import reproduce as studies

    told = studies.diff(*asked.paths())
    for line in told["lines"]:
        asked.say(line)
    return told
