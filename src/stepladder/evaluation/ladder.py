"""The rungs of one comparison, answered on the same questions: each one's scores and what it differs by.

Knows metrics and answers; knows no config, no cost and no run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.evaluation.answered import Answered
from stepladder.evaluation.estimates import Side, at_least, difference, measured
from stepladder.evaluation.metrics import Metric, NotDefinedError
from stepladder.evaluation.statistics import benjamini_hochberg, holm


@dataclass(frozen=True)
class Rules:
    """How differences are tested: McNemar's test with or without mid-p, and what is done about many comparisons."""

    mid_p: bool = False
    correction: Literal["holm", "benjamini_hochberg"] = "holm"

    def adjusted(self, p_values: Sequence[float]) -> list[float]:
        return holm(p_values) if self.correction == "holm" else benjamini_hochberg(p_values)


EXACT = Rules()


def compared(
    metrics: Mapping[str, Metric],
    rungs: Mapping[str, Sequence[Answered]],
    baseline: str,
    main: str,
    seed: int,
    rules: Rules = EXACT,
) -> list[dict[str, Any]]:
    """One cell a rung, in the order of `rungs` (simplest first); a rung's runs differ by their seed alone.

    A cell has `name`; `scores` by metric; `at_least`, the one-sided 95 % lower bound of each; `difference` to the
    baseline by metric (absent on the baseline itself); `to_below` and `to_best` (absent where the rung is the lowest,
    or the best), each {"name", "difference" by metric}. Best is the highest value of `main`, of equals the first.
    `p_adjusted` goes over all rungs against the baseline, over all against the one below, or over all against the best;
    `detectable` is at the strictest level that such a family asks for. Raises DataError where two rungs did not answer
    the same questions.
    """
    names = list(rungs)
    sides = _sides(metrics, rungs)
    if baseline not in rungs:
        raise ConfigError(Fault("comparison.baseline", f"there is no rung '{baseline}'", did_you_mean(baseline, names)))
    if main not in sides:
        raise ConfigError(Fault("evaluation", f"the main metric '{main}' says nothing about this task", "name another"))
    best = max(names, key=lambda name: sides[main][name].value)
    to_baseline = _differences(sides, {name: baseline for name in names if name != baseline}, seed, rules)
    to_below = _differences(sides, dict(zip(names[1:], names, strict=False)), seed, rules)
    to_best = _differences({main: sides[main]}, {name: best for name in names if name != best}, seed, rules)
    cells: list[dict[str, Any]] = []
    for name, below in zip(names, [None, *names], strict=False):
        scores = {metric: measured(side[name], seed).as_dict() for metric, side in sides.items()}
        floors = {metric: at_least(side[name], seed) for metric, side in sides.items()}
        cell: dict[str, Any] = {"name": name, "scores": scores, "at_least": floors}
        if name != baseline:
            cell["difference"] = to_baseline[name]
        if below is not None:
            cell["to_below"] = {"name": below, "difference": to_below[name]}
        if name != best:
            cell["to_best"] = {"name": best, "difference": to_best[name]}
        cells.append(cell)
    return cells


def _sides(metrics: Mapping[str, Metric], rungs: Mapping[str, Sequence[Answered]]) -> dict[str, dict[str, Side]]:
    """Every rung under every metric that says something about the task."""
    sides: dict[str, dict[str, Side]] = {}
    for name, metric in metrics.items():
        with suppress(NotDefinedError):
            sides[name] = {rung: Side(metric, runs) for rung, runs in rungs.items()}
    return sides


def _differences(
    sides: Mapping[str, Mapping[str, Side]], pairs: Mapping[str, str], seed: int, rules: Rules
) -> dict[str, dict[str, dict[str, Any]]]:
    """By rung and metric, the difference of each rung to its partner in `pairs`, adjusted over all pairs."""
    found: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in pairs}
    for metric, side in sides.items():
        level = 0.05 / max(1, len(pairs))
        differences = [difference(side[name], side[other], seed, rules.mid_p, level) for name, other in pairs.items()]
        adjusted = rules.adjusted([each.p for each in differences])
        for name, each, p_adjusted in zip(pairs, differences, adjusted, strict=True):
            found[name][metric] = {**each.as_dict(), "p_adjusted": p_adjusted}
    return found
