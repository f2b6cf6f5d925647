"""The verdict of a comparison: the simplest method that the evidence supports, and why.

It recommends nothing where there are too few questions or where no method is shown to work, names the simpler methods
that stay undecided, and never takes "no significant difference" for "no difference".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import ceil

from stepladder.evaluation.statistics.closed_form import questions_for, usable_questions
from stepladder.evaluation.statistics.estimates import Difference
from stepladder.studies.results import Cell, DifferenceTo, Status, TunedDifference, Verdict

SHOWN = 3
"""How many margins or targets that would change the verdict are listed."""
SMALL = 0.1
"""The advantage over the most frequent answer that the needed number of questions refers to where none is seen."""


def verdict(
    cells: Sequence[Cell],
    order: Sequence[str],
    metric: str,
    margin: float,
    target: float | None = None,
    without_model: Collection[str] = (),
    floor: str | None = None,
) -> Verdict:
    """The first method in `order` (simplest first) that is good enough.

    Good enough without a `target`: within `margin` of the best method, by the one-sided 95% lower bound of the paired
    difference to the best; the best itself always is. With a `target`: the one-sided 95% lower bound of the score
    reaches it. Where there is a `floor`, the method must also be significantly better than the floor.

    `recommended` is None, and `status` and `reason` say why, where there are fewer questions than
    `statistics.usable_questions` (too_few_rows), where no method is significantly better than the floor
    (no_method_works; too_few_rows where the best one is ahead by more than `margin`, so that more questions may show
    it), or where no method reaches the target. `rows_needed` is the number of test rows that would help, None where no
    number would or none is needed.

    Args:
        cells: One for each method, as `ComparedRuns.cells` makes them.
        order: The methods, simplest first.
        metric: The main metric.
        margin: How far behind the best still counts as good enough.
        target: A score that is good enough.
        without_model: The methods that use no language model.
        floor: The method that always gives the most frequent answer, which the cells' `to_floor` names.
    """
    known = {cell.name: cell for cell in cells}
    ordered = [known[name] for name in order]
    working = [c.name for c in ordered if floor is None or (c.to_floor and c.to_floor.difference[metric].better)]
    best = max([known[name] for name in working] or ordered, key=lambda cell: cell.scores[metric].value)
    questions = best.scores[metric].n
    found = (metric, best.name, margin, target, questions)
    doubt = _doubt(ordered, working, metric, margin, floor)
    if doubt is not None:
        status, reason, rows_needed, rests_on = doubt
        return Verdict(None, status, reason, rows_needed, *found, rests_on=rests_on)
    support = {cell.name: _support(cell, metric, margin, target) for cell in ordered}
    supported = [name for name in order if support[name] == "supported" and name in working]
    chosen = known[supported[0]] if supported else None
    simpler = ordered if chosen is None else ordered[: ordered.index(chosen)]
    undecided = [cell.name for cell in simpler if cell.name != floor and support[cell.name] != "ruled out"]
    reason = (
        _target_reason(chosen, best, metric, target)
        if target is not None
        else _margin_reason(chosen, best, simpler, metric, margin)
    )
    if chosen is not None and chosen.name in without_model and not set(order) <= set(without_model):
        reason += f" No language model is needed: {chosen.name} is good enough."
    if undecided:
        are = "is" if len(undecided) == 1 else "are"
        reason += f" {questions:,} questions are too few to tell whether {_listed(undecided, 'or')} {are} good enough."
    return Verdict(
        None if chosen is None else chosen.name,
        "target_not_reached" if chosen is None else "recommended",
        reason,
        None,
        *found,
        undecided=tuple(undecided),
        rests_on=tuple(_evidence(chosen, best, simpler, ordered, metric, target)),
        would_change=tuple(_would_change(chosen, simpler, working, undecided, metric, margin, target)),
    )


def _doubt(
    ordered: Sequence[Cell], working: Sequence[str], metric: str, margin: float, floor: str | None
) -> tuple[Status, str, int | None, tuple[str, ...]] | None:
    """Why nothing can be recommended, whatever margin or target, with the rows needed and the evidence; None where
    something can."""
    tested = [cell for cell in ordered if cell.to_floor is not None] if floor is not None else list(ordered)
    family = max(1, len(tested))
    usable, units = usable_questions(family), ordered[0].units
    best = max(tested, key=lambda cell: _ahead(cell, metric), default=None)
    evidence = () if best is None or best.to_floor is None else (_against_floor(best, best.to_floor, metric),)
    adjusted = f" (80% power, {family} comparisons)" if family > 1 else " (80% power)"
    if units < usable:
        what = _counted(units, ordered[0].scores[metric].n)
        reason = (
            f"Too few rows: {what}. At least {usable} are needed to detect even a difference of 0.5 in "
            f"{metric}{adjusted}."
        )
        return ("too_few_rows", reason, usable, evidence)
    if working:
        return None
    frequent = f"always giving the most frequent answer ({floor})"
    if best is None:
        reason = f"No method works: the only one is {floor}, the most frequent answer."
        return "no_method_works", reason, None, ()
    assert best.to_floor is not None
    gap = best.to_floor.difference[metric]
    n, ahead = gap.n, gap.value
    sure = f"no method is significantly better in {metric} than {frequent}"
    if ahead > margin:
        needed = max(usable, n + 1, questions_for(ahead, gap.detectable, n))
        reason = (
            f"Too few rows: {sure}. {best.name} is ahead by {ahead:.3f} on {n:,} test rows; about {needed:,} test "
            f"rows are needed to confirm a difference of that size{adjusted}."
        )
        return ("too_few_rows", reason, needed, evidence)
    needed = questions_for(SMALL, gap.detectable, n)
    known = f"The {n:,} test rows would show an advantage of {gap.detectable:.3f} or more{adjusted}"
    reason = f"No method works: {sure}. {known}"
    reason += f"; about {needed:,} test rows would show one of {SMALL:g}." if needed > n else "."
    return ("no_method_works", reason, needed if needed > n else None, evidence)


def _ahead(cell: Cell, metric: str) -> float:
    return cell.scores[metric].value if cell.to_floor is None else cell.to_floor.difference[metric].value


def _counted(units: int, n: int) -> str:
    rows = f"{n:,} test row{'' if n == 1 else 's'}"
    return rows if units == n else f"{rows} in {units:,} independent group{'' if units == 1 else 's'}"


def _evidence(
    chosen: Cell | None, best: Cell, simpler: Sequence[Cell], ordered: Sequence[Cell], metric: str, target: float | None
) -> Iterator[str]:
    """The evidence of the verdict, a sentence each."""
    judged = {cell.name: cell for cell in (*simpler, chosen) if cell is not None}
    if chosen is not None and chosen.to_floor is not None and chosen.to_floor.name not in judged:
        yield _against_floor(chosen, chosen.to_floor, metric)
    for cell in judged.values():
        if target is not None:
            floor = cell.at_least[metric]
            yield f"{cell.name}: {metric} {_score(cell, metric)}, at least {floor:.3f} (one-sided 95%)."
        elif cell.to_best is not None:
            yield f"{cell.name} against {best.name}: {describe(cell.to_best.difference[metric], metric)}"
    yield from seeds(ordered)


def seeds(cells: Sequence[Cell]) -> Iterator[str]:
    """Which intervals hold the variation between seeds: of the methods whose result depends on the seed at all."""
    single = [cell.name for cell in cells if cell.seeded and len(cell.seeds) == 1]
    several: dict[int, list[str]] = {}
    for cell in cells:
        if len(cell.seeds) > 1:
            several.setdefault(len(cell.seeds), []).append(cell.name)
    for count, names in several.items():
        their = "its interval includes" if len(names) == 1 else "their intervals include"
        yield f"{_listed(names)}: mean of {count} seeds; {their} the variation between seeds."
    if single:
        their = "its interval does" if len(single) == 1 else "their intervals do"
        yield f"{_listed(single)}: one seed; {their} not include the variation between seeds."


def _would_change(
    chosen: Cell | None,
    simpler: Sequence[Cell],
    working: Sequence[str],
    undecided: Sequence[str],
    metric: str,
    margin: float,
    target: float | None,
) -> Iterator[str]:
    """Margins, targets and numbers of questions that would change the verdict."""
    gaps = {cell.name: cell.to_best.difference[metric] for cell in simpler if cell.to_best is not None}
    floors = {cell.name: cell.at_least[metric] for cell in simpler}
    simpler = [cell for cell in simpler if cell.name in working]
    ways = [
        (-gaps[cell.name].at_least if target is None else -floors[cell.name], cell.name)
        for cell in simpler
        if target is not None or (cell.name in gaps and gaps[cell.name].at_least < -margin)
    ]
    for needed, name in sorted(ways)[:SHOWN]:
        limit = f"a margin of {needed:.3f} or more" if target is None else f"a target of {-needed:.3f} or less"
        yield f"With {limit}, {name} is good enough."
    for name in undecided if target is None else ():
        if name in gaps and (more := _questions(gaps[name], margin)):
            yield f"About {more:,} questions would show that {name} is good enough, if the scores stay as they are."
    if target is None and chosen is not None and chosen.to_best is not None:
        slack = -chosen.to_best.difference[metric].at_least
        if slack > 0:
            yield f"With a margin below {slack:.3f}, {chosen.name} is no longer shown to be good enough."
    if target is not None and chosen is not None:
        yield f"With a target above {chosen.at_least[metric]:.3f}, {chosen.name} is no longer shown to reach it."


def _questions(gap: Difference, margin: float) -> int | None:
    """How many questions bring the one-sided bound of `gap` within `margin` with 80% power, if its value stays as it
    is; None where no number does, or where there are that many already."""
    from scipy.stats import norm

    room = gap.value + margin
    reach = (gap.value - gap.at_least) * float(1 + norm.ppf(0.8) / norm.ppf(0.95))
    needed = ceil(gap.n * (reach / room) ** 2) if room > 0 else 0
    return needed if needed > gap.n else None


def tuned_lines(
    differences: Sequence[TunedDifference], cells: Sequence[Cell], metric: str, recommended: str | None
) -> list[str]:
    """Whether the best tuned method is better than the best prompted and than the recommended one, a sentence each."""
    scores = {cell.name: cell.scores[metric].value for cell in cells}
    best = max((each.name for each in differences), key=lambda name: scores[name], default=None)
    lines = [
        f"{each.name} against {each.against}, the {' and '.join(each.roles)} method: "
        f"{describe(each.difference[metric], metric)}"
        for each in differences
        if each.name == best and each.roles
    ]
    if best is not None and best == recommended and lines:
        lines[0] = f"{best} is the recommended method. {lines[0]}"
    return lines


def describe(found: Difference, metric: str) -> str:
    """A paired difference in words: its direction, interval, adjusted p and discordant counts, and the minimum
    detectable effect where it is not significant."""
    effect = f"{found.value:+.3f} {metric} [{found.low:+.3f}, {found.high:+.3f}]"
    p = "< 0.001" if found.adjusted_p < 0.001 else f"= {found.adjusted_p:.3f}"
    counts = "" if found.wins is None else f"; {found.wins} better and {found.losses} worse"
    of = f" of {found.n:,} questions" if counts else f"; {found.n:,} questions"
    sentence = f"{effect}, adjusted p {p}{counts}{of}."
    if found.better:
        return f"significantly better, {sentence}"
    if found.worse:
        return f"significantly worse, {sentence}"
    return f"{sentence} No significant difference; minimum detectable effect {found.detectable:.3f} (80% power)."


def _against_floor(cell: Cell, floor: DifferenceTo, metric: str) -> str:
    return f"{cell.name} against {floor.name}, the most frequent answer: {describe(floor.difference[metric], metric)}"


def _support(cell: Cell, metric: str, margin: float, target: float | None) -> str:
    """supported, undecided or ruled out."""
    if target is not None:
        if cell.at_least[metric] >= target:
            return "supported"
        return "undecided" if cell.scores[metric].high >= target else "ruled out"
    if cell.to_best is None:
        return "supported"
    gap = cell.to_best.difference[metric]
    if gap.at_least >= -margin:
        return "supported"
    return "undecided" if gap.high >= -margin else "ruled out"


def _target_reason(chosen: Cell | None, best: Cell, metric: str, target: float) -> str:
    if chosen is None:
        return f"No method is shown to reach {metric} {target:g}; the best, {best.name}, has {_score(best, metric)}."
    return (
        f"{chosen.name} is the simplest method shown to reach {metric} {target:g}: {_score(chosen, metric)}, at "
        f"least {chosen.at_least[metric]:.3f} (one-sided 95%)."
    )


def _margin_reason(chosen: Cell | None, best: Cell, simpler: Sequence[Cell], metric: str, margin: float) -> str:
    if chosen is None or chosen.to_best is None:
        if not simpler:
            return f"{best.name} is the simplest method and the best: {metric} {_score(best, metric)}."
        shown = f"{best.name}, the best: {_score(best, metric)}"
        return f"No simpler method is shown to be within {margin:g} {metric} of {shown}."
    gap = chosen.to_best.difference[metric]
    return (
        f"{chosen.name} is the simplest method shown to be within {margin:g} {metric} of the best, {best.name} "
        f"({_score(best, metric)}): {_score(chosen, metric)}, behind by {max(0.0, -gap.value):.3f} and by no more "
        f"than {max(0.0, -gap.at_least):.3f} (one-sided 95%, paired)."
    )


def _score(cell: Cell, metric: str) -> str:
    score = cell.scores[metric]
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _listed(names: Sequence[str], word: str = "and") -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"
