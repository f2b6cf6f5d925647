"""How far up the ladder it pays to climb: the simplest rung that the evidence supports, and why.

Knows the cells that `ladder.compared` makes; knows no prediction. It says "too few questions" where the evidence
neither supports nor rules out a simpler rung, and never takes "no difference found" for "no difference".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from math import ceil
from typing import Any

SHOWN = 3  # of the margins or targets that would turn the verdict


def verdict(
    cells: Sequence[Mapping[str, Any]],
    order: Sequence[str],
    metric: str,
    margin: float,
    target: float | None = None,
    without_model: Collection[str] = (),
) -> dict[str, Any]:
    """The first rung in `order` (simplest first) that does.

    With a `target`: whose one-sided 95 % lower bound lies at or above it. Else: that is within `margin` of the best
    rung, shown by the one-sided 95 % lower bound of its paired difference to the best; the best always does.
    `undecided` names simpler rungs that the questions neither support nor rule out. `recommended` is None where no
    rung meets the target. `rests_on` and `would_change` tell a person, a sentence each, what the choice stands on and
    what would turn it. `without_model` names the rungs that ask no language model.
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
    if chosen is not None and chosen["name"] in without_model and not set(order) <= set(without_model):
        reason += f" No language model is needed: {chosen['name']} asks none."
    questions = best["scores"][metric]["n"]
    gaps = {cell["name"]: cell["to_best"]["difference"][metric] for cell in ladder if "to_best" in cell}
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
        "rests_on": list(_rests_on(chosen, best, simpler, metric, target)),
        "would_change": list(_would_change(chosen, simpler, gaps, undecided, metric, margin, target)),
    }


def _rests_on(
    chosen: Mapping[str, Any] | None, best: Mapping[str, Any], simpler: Sequence[Any], metric: str, target: float | None
) -> Iterator[str]:
    for cell in {cell["name"]: cell for cell in (*simpler, chosen) if cell is not None}.values():
        if target is not None:
            floor = cell["at_least"][metric]
            yield f"{cell['name']}: {metric} {_score(cell, metric)}, at least {floor:.3f} (one-sided 95 %)."
        elif "to_best" in cell:
            yield f"{cell['name']} against {best['name']}: {told(cell['to_best']['difference'][metric], metric)}"
    seeds = {cell["name"]: len(cell["seeds"]) for cell in (*simpler, chosen) if cell and len(cell.get("seeds", ())) > 1}
    if not seeds:
        yield "One seed a rung: how much the draw of a seed moves a tuned rung is not in these intervals."


def _would_change(
    chosen: Mapping[str, Any] | None,
    simpler: Sequence[Mapping[str, Any]],
    gaps: Mapping[str, Mapping[str, Any]],
    undecided: Sequence[str],
    metric: str,
    margin: float,
    target: float | None,
) -> Iterator[str]:
    ways = [
        (-gaps[cell["name"]]["at_least"] if target is None else -cell["at_least"][metric], cell["name"])
        for cell in simpler
        if target is not None or gaps[cell["name"]]["at_least"] < -margin
    ]
    for needed, name in sorted(ways)[:SHOWN]:
        asked = f"A margin of {needed:.3f} or more" if target is None else f"A target of {-needed:.3f} or less"
        yield f"{asked}: then {name} is enough."
    for name in undecided if target is None else ():
        if more := _questions(gaps[name], margin):
            yield f"About {more:,} questions, if the figures stay as they are: then {name} is shown to be enough."
    if target is None and chosen is not None and "to_best" in chosen:
        slack = -gaps[chosen["name"]]["at_least"]
        if slack > 0:
            yield f"A margin below {slack:.3f}: then {chosen['name']} is no longer shown to be enough."
    if target is not None and chosen is not None:
        yield f"A target above {chosen['at_least'][metric]:.3f}: then {chosen['name']} is no longer shown to reach it."


def _questions(gap: Mapping[str, Any], margin: float) -> int | None:
    """How many questions would bring the one-sided bound of `gap` within `margin` four times in five, its value as it
    is now; None where no number would."""
    from scipy.stats import norm

    room = gap["value"] + margin
    reach = (gap["value"] - gap["at_least"]) * float(1 + norm.ppf(0.8) / norm.ppf(0.95))
    return ceil(gap["n"] * (reach / room) ** 2) if room > 0 else None


def told(found: Mapping[str, Any], metric: str) -> str:
    """A paired difference in one sentence: effect, interval, adjusted p, discordant counts, n; and where nothing was
    found, what could have been."""
    effect = f"{found['value']:+.3f} {metric} [{found['low']:+.3f}, {found['high']:+.3f}]"
    p = "< 0.001" if found["p_adjusted"] < 0.001 else f"= {found['p_adjusted']:.3f}"
    counts = "" if found["wins"] is None else f", {found['wins']} better and {found['losses']} worse"
    sentence = f"{effect}, adjusted p {p}{counts} of {found['n']} questions."
    if found["p_adjusted"] >= 0.05:
        sentence += f" No difference found; {found['detectable']:.3f} or more would have been, four times in five."
    return sentence


def _against_target(cell: Mapping[str, Any], metric: str, target: float) -> str:
    if cell["at_least"][metric] >= target:
        return "supported"
    return "undecided" if cell["scores"][metric]["high"] >= target else "ruled out"


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
    return (
        f"{chosen['name']} is the simplest rung shown to reach {metric} {target:g}: {_score(chosen, metric)}, at "
        f"least {chosen['at_least'][metric]:.3f} (one-sided 95 %)."
    )


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
