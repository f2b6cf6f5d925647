"""`compare`: several methods on the same test questions."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from stepladder.cli.arguments import Asked
from stepladder.cli.setup import notify, run_context
from stepladder.io.redaction import mask_arguments


def compare(asked: Asked) -> dict[str, Any]:
    from stepladder.reports.comparison import write
    from stepladder.studies.comparison import compare as compare_planned
    from stepladder.studies.variants import plan

    planned = plan(asked.overrides, asked.config_dir, asked.trust)
    notify(planned.notices)
    around = run_context(asked, planned.config, heavy=False)
    tuning = None
    if planned.comparison.tune:
        from stepladder.studies.tuned import tuned

        planned, tuning = tuned(planned, asked.overrides, asked.config_dir, around)
    told = write(compare_planned(planned, around, tuning, _command(asked)))
    _print_table(asked, told)
    asked.say(f"report: {told['report']}")
    return told


def _command(asked: Asked) -> str:
    """The command line, to be said again; secrets masked."""
    own = ["--config-dir", str(asked.config_dir)] if asked.config_dir else []
    trusted = [word for prefix in asked.trust for word in ("--trust", prefix)]
    limit = [] if asked.limit is None else ["--limit", str(asked.limit)]
    words = ["stepladder", asked.verb, *asked.words, *limit, *own, *trusted, "--outputs", str(asked.outputs)]
    return shlex.join(mask_arguments(words))


def _print_table(asked: Asked, told: Mapping[str, Any]) -> None:
    from rich.console import Console

    from stepladder.reports.summary import NARROW, summary

    console = Console(stderr=asked.as_json)
    if not console.is_terminal:
        console = Console(stderr=asked.as_json, width=NARROW)
    console.print(summary(told, console.width))
