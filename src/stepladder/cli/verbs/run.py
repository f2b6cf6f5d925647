"""`run`: runs one experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import composed, run_context


def run(args: Arguments) -> dict[str, Any]:
    from stepladder.config.experiment import Experiment
    from stepladder.runs.run import run as run_experiment
    from stepladder.types import CheckResult

    composition, config = composed(args)
    around = replace(run_context(args, config), fresh=args.fresh)
    made = run_experiment(Experiment.from_config(config, composition.choices), around)
    result = made.as_dict()
    for suite, metrics in result["scores"].items():
        for name, found in metrics.items():
            args.write_line(
                f"{suite}.{name}: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}], n={found['n']}"
            )
    checks = [CheckResult.from_dict(stored) for stored in result["gate"]]
    warnings = [check.message for check in checks if check.warns]
    of_all = f"{len(checks) - len(warnings)} of {len(checks)}" if warnings else f"all {len(checks)}"
    args.write_line("\n  warning: ".join([f"preflight: {of_all} checks passed", *warnings]))
    for suite, left_out in made.left_out.items():
        for what, why in left_out.items():
            args.write_line(f"{suite}: {what} left out ({why})")
    args.write_line(f"scores in {result['folders']['score']}")
    return result
