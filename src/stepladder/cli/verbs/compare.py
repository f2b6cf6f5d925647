"""`compare`: compares several methods on the same test questions."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import notify, run_context
from stepladder.io.redaction import mask_arguments

if TYPE_CHECKING:
    from stepladder.studies.results import Comparison


def compare(args: Arguments) -> Comparison:
    from stepladder.reports.comparison import write
    from stepladder.studies.comparison import compare as compare_planned
    from stepladder.studies.variants import plan

    planned = plan(args.overrides, args.config_dir, args.trust)
    notify(planned.notices)
    context = run_context(args, planned.config, heavy=False)
    tuning = None
    if planned.comparison.tune:
        from stepladder.studies.tuned import tuned

        planned, tuning = tuned(planned, args.overrides, args.config_dir, context)
    comparison = write(*compare_planned(planned, context, tuning, _command(args)))
    _print_table(args, comparison)
    args.write_line(f"report: {comparison.report}")
    return comparison


def _command(args: Arguments) -> str:
    """The command line that repeats the comparison; secrets masked."""
    own = ["--config-dir", str(args.config_dir)] if args.config_dir else []
    trusted = [word for prefix in args.trust for word in ("--trust", prefix)]
    limit = [] if args.limit is None else ["--limit", str(args.limit)]
    words = ["stepladder", args.verb, *args.words, *limit, *own, *trusted, "--outputs", str(args.outputs)]
    return shlex.join(mask_arguments(words))


def _print_table(args: Arguments, comparison: Comparison) -> None:
    from rich.console import Console

    from stepladder.reports.summary import NARROW, summary

    console = Console(stderr=args.as_json)
    if not console.is_terminal:
        console = Console(stderr=args.as_json, width=NARROW)
    console.print(summary(comparison, console.width))
