"""How far up the ladder it pays to climb: the simplest rung that the evidence supports, and why.

Knows the cells that `ladder.compared` makes; knows no prediction. It says "too few questions" where the evidence
neither supports nor rules out a simpler rung, and never takes "no difference found" for "no difference".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def verdict(
    cells: Sequence[Mapping[str, Any]], order: Sequence[str], metric: str, margin: float, target: float | None = None
) -> dict[str, Any]:
    """The first rung in `order` (simplest first) that does.

    With a `target`: whose 95 % interval lies at or above it. Else: that is within `margin` of the best rung, shown by
    the one-sided 95 % lower bound of its paired difference to the best; the best always does. `undecided` names simpler
    rungs that the questions neither support nor rule out. `recommended` is None where no rung meets the target.
    """
    known = {cell["name"]: cell for cell in cells}
    ladder = [known[name] for name in order]
    best = max(ladder, key=lambda cell: cell["scores"][metric]["value"])
    standing = {
        cell["name"]: _against_target(cell, metric, target) if target is not None else _near_best(cell, metric, margin)
        for cell in ladder
    }
    chosen = next((cell for cell in ladder if standing[cell["name"]] == "supported"), None)
    simpler = ladder if chosen is None else ladder[: ladder.index(chosen)]
    undecided = [cell["name"] for cell in simpler if standing[cell["name"]] == "undecided"]
    reason = (
        _target_reason(chosen, best, metric, target)
        if target is not None
        else _margin_reason(chosen, best, simpler, metric, margin)
    )
    questions = best["scores"][metric]["n"]
    if undecided:
        are = "is" if len(undecided) == 1 else "are"
        reason += f" {questions} questions are too few to tell whether {_listed(undecided)} {are} enough."
    return {
        "recommended": None if chosen is None else chosen["name"],
        "reason": reason,
        "metric": metric,
        "best": best["name"],
        "margin": margin,
        "target": target,
        "questions": questions,
        "undecided": undecided,
    }


def _against_target(cell: Mapping[str, Any], metric: str, target: float) -> str:
    score = cell["scores"][metric]
    if score["low"] >= target:
        return "supported"
    return "undecided" if score["high"] >= target else "ruled out"


def _near_best(cell: Mapping[str, Any], metric: str, margin: float) -> str:
    if "to_best" not in cell:
        return "supported"
    gap = cell["to_best"]["difference"][metric]
    if gap["at_least"] >= -margin:
        return "supported"
    return "undecided" if gap["high"] >= -margin else "ruled out"


def _target_reason(chosen: Mapping[str, Any] | None, best: Mapping[str, Any], metric: str, target: float) -> str:
    if chosen is None:
        return f"No rung is shown to reach {metric} {target:g}; the best, {best['name']}, has {_score(best, metric)}."
    return f"{chosen['name']} is the simplest rung shown to reach {metric} {target:g}: {_score(chosen, metric)}."


def _margin_reason(
    chosen: Mapping[str, Any] | None, best: Mapping[str, Any], simpler: Sequence[Any], metric: str, margin: float
) -> str:
    if not simpler:
        return f"{best['name']} is the simplest rung and the best: {metric} {_score(best, metric)}."
    if chosen is None or "to_best" not in chosen:
        shown = f"{best['name']}, the best: {_score(best, metric)}"
        return f"No simpler rung is shown to be within {margin:g} {metric} of {shown}."
    gap = chosen["to_best"]["difference"][metric]
    return (
        f"{chosen['name']} is the simplest rung shown to be within {margin:g} {metric} of the best, {best['name']} "
        f"({_score(best, metric)}): {_score(chosen, metric)}, behind by {max(0.0, -gap['value']):.3f} and by no more "
        f"than {max(0.0, -gap['at_least']):.3f} (one-sided 95 %, paired)."
    )


def _score(cell: Mapping[str, Any], metric: str) -> str:
    score = cell["scores"][metric]
    return f"{score['value']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
