"""`run`: one experiment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepladder.cli.arguments import Asked
from stepladder.cli.setup import composed, run_context


def run(asked: Asked) -> dict[str, Any]:
    from stepladder.config.experiment import Experiment
    from stepladder.runs.run import run as run_experiment

    composition, config = composed(asked)
    around = replace(run_context(asked, config), fresh=asked.fresh)
    made = run_experiment(Experiment.from_config(config, composition.choices), around)
    told = made.as_dict()
    for suite, metrics in told["scores"].items():
        for name, found in metrics.items():
            asked.say(f"{suite}.{name}: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}], n={found['n']}")
    warnings = [found["told"] for found in told["gate"] if found["odd"]]
    passed, checks = len(told["gate"]) - len(warnings), len(told["gate"])
    of_all = f"{passed} of {checks}" if warnings else f"all {checks}"
    asked.say("\n  warning: ".join([f"preflight: {of_all} checks passed", *warnings]))
    for suite, left_out in made.left_out.items():
        for what, why in left_out.items():
            asked.say(f"{suite}: {what} left out ({why})")
    asked.say(f"scores in {told['folders']['score']}")
    return told
