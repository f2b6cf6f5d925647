"""`run`: runs one experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import composed, run_context

if TYPE_CHECKING:
    from stepladder.runs.results import RunResult


def run(args: Arguments) -> RunResult:
    from stepladder.config.experiment import Experiment
    from stepladder.runs.run import run as run_experiment

    composition, config = composed(args)
    context = replace(run_context(args, config), fresh=args.fresh)
    made = run_experiment(Experiment.from_config(config, composition.choices), context)
    for suite, metrics in made.scores.items():
        for name, found in metrics.items():
            args.write_line(f"{suite}.{name}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}], n={found.n}")
    checks = made.all_checks
    warnings = [each.message for each in checks if each.warns]
    of_all = f"{len(checks) - len(warnings)} of {len(checks)}" if warnings else f"all {len(checks)}"
    args.write_line("\n  warning: ".join([f"preflight: {of_all} checks passed", *warnings]))
    for suite, left_out in made.left_out.items():
        for what, why in left_out.items():
            args.write_line(f"{suite}: {what} left out ({why})")
    args.write_line(f"scores in {made.score.folder}")
    return made.result
