"""The further evaluation suites that a comparison supports, so that no report recommends one that would be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stepladder.errors import ConfigError
from stepladder.evaluation.suite import Suite
from stepladder.evaluation.suites.calibration import Calibration
from stepladder.evaluation.suites.format import FreeForm
from stepladder.evaluation.suites.out_of_scope import OutOfScope
from stepladder.evaluation.suites.rag import Rag
from stepladder.evaluation.suites.robustness import Robustness
from stepladder.evaluation.suites.slices import Slices
from stepladder.runs.stages import Prepared

SUITES: dict[str, Suite] = {
    "calibration": Calibration(),
    "format": FreeForm(),
    "out_of_scope": OutOfScope(),
    "rag": Rag(),
    "robustness": Robustness(),
    "slices": Slices(),
}
"""By the name of their option in conf/evaluation."""
PROBABILITIES = "decoding.probabilities=all"


def advice(prepared: Sequence[Prepared]) -> dict[str, str]:
    """By suite, the overrides that add it to this comparison; without the suites that it has, or that this task, its
    data or one of its methods does not support."""
    first = prepared[0]
    chosen = first.experiment.choices.get("evaluation", ())
    asked = [name for name in chosen if name != "auto" and name in first.suites]
    found = {}
    for name, suite in SUITES.items():
        if name in first.suites or suite.kind not in (None, first.data.task.kind):
            continue
        words = f"evaluation=[{','.join([*asked, name])}]"
        if all(_accepts(suite, each) for each in prepared):
            found[name] = words
        elif all(_accepts(suite, each, probabilities=True) for each in prepared):
            found[name] = f"{words} {PROBABILITIES}"
    return found


def _accepts(suite: Suite, prepared: Prepared, probabilities: bool = False) -> bool:
    inputs = prepared.inputs
    if probabilities:
        decoding = replace(inputs.main.decoding, probabilities="all")
        inputs = replace(inputs, main=replace(inputs.main, decoding=decoding))
    try:
        suite.requests(inputs)
    except ConfigError:
        return False
    return True
