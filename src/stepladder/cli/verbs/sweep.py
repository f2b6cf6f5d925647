"""`sweep`: searches a space on the validation rows."""

from __future__ import annotations

import json
from typing import Any

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import notify


def sweep(args: Arguments) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.reports.sweep import page
    from stepladder.runs.run import run as run_experiment
    from stepladder.studies.sweep import sweep as studies
    from stepladder.studies.sweep.plan import plan

    read: dict[str, Any] = {}
    planned = plan(args.overrides, args.config_dir, args.trust, read)
    notify(planned.dropped)
    around = studies.circumstances(planned, args.outputs, read, Terminal())
    if args.status:
        result = studies.status(planned, around)
        args.write_line(json.dumps(result, indent=1, ensure_ascii=False))
        return result
    found = studies.search(planned, args.overrides, around)
    winner = found.winner
    test = None if winner is None else run_experiment(winner.on("test"), around)
    result = studies.concluded(found, test, around, page)
    for line in studies.told_lines(result):
        args.write_line(line)
    return result
