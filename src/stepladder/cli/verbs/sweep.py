"""`sweep`: searches a space on the validation rows."""

from __future__ import annotations

import json
from typing import Any

from stepladder.cli.arguments import Asked
from stepladder.cli.setup import notify


def sweep(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.reports.sweep import page
    from stepladder.runs.run import run as run_experiment
    from stepladder.studies.sweep import sweep as studies
    from stepladder.studies.sweep.plan import plan

    read: dict[str, Any] = {}
    planned = plan(asked.overrides, asked.config_dir, asked.trust, read)
    notify(planned.dropped)
    around = studies.circumstances(planned, asked.outputs, read, Terminal())
    if asked.status:
        told = studies.status(planned, around)
        asked.say(json.dumps(told, indent=1, ensure_ascii=False))
        return told
    found = studies.search(planned, asked.overrides, around)
    winner = found.winner
    test = None if winner is None else run_experiment(winner.on("test"), around)
    told = studies.concluded(found, test, around, page)
    for line in studies.told_lines(told):
        asked.say(line)
    return told
