"""`sweep`: searches a space on the validation rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import notify

if TYPE_CHECKING:
    from stepladder.dataset.loaded import Loaded
    from stepladder.studies.sweep.results import SweepResult, SweepStatus


def sweep(args: Arguments) -> SweepResult | SweepStatus:
    from stepladder.cli.terminal import Terminal
    from stepladder.io.serialise import to_plain
    from stepladder.reports.sweep import page
    from stepladder.runs.run import run as run_experiment
    from stepladder.studies.sweep import sweep as studies
    from stepladder.studies.sweep.plan import plan

    read: dict[str, Loaded] = {}
    planned = plan(args.overrides, args.config_dir, args.trust, read, args.outputs, begin=not args.status)
    notify(planned.dropped)
    context = studies.sweep_context(planned, args.outputs, read, Terminal())
    if args.status:
        status = studies.status(planned, context)
        args.write_line(json.dumps(to_plain(status), indent=1, ensure_ascii=False))
        return status
    found = studies.search(planned, args.overrides, context)
    winner = found.winner
    test = None if winner is None else run_experiment(winner.on("test"), context)
    plain = None if found.plain is None else run_experiment(found.plain.on("test"), context)
    result = studies.concluded(found, test, context, page, plain)
    for line in studies.summary(result):
        args.write_line(line)
    return result
