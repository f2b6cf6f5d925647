"""A metric's value with its interval, and the paired difference of two sides with interval and p-value.

A share of right answers to independent questions gets the closed forms of `closed_form.py`, everything else is
resampled. A side may be several runs of the same questions with different seeds; then the seeds are a second source of
variance (`_with_seeds`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot, sqrt

import numpy as np

from stepladder.errors import DataError
from stepladder.evaluation.answers import Answers, check_same_questions
from stepladder.evaluation.metrics.choice import Floats, Metric, folded, numbers_of, question_values
from stepladder.evaluation.statistics.closed_form import (
    detectable_difference,
    detectable_of,
    joined_interval,
    mcnemar,
    paired_share_interval,
    wilson,
)
from stepladder.evaluation.statistics.resampling import (
    bias_corrected_interval,
    bootstrap_sums,
    permutation_p,
    units_of,
    widened,
)
from stepladder.io.serialise import optional

LEVEL = 0.05
"""The significance level, after adjustment."""


@dataclass(frozen=True)
class Measured:
    """A `value` over `n` questions and its 95% interval, which contains it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Difference:
    """Ours minus theirs over the same `n` questions.

    Attributes:
        low: The lower end of the 95% interval.
        high: The upper end of the 95% interval.
        at_least: The one-sided 95% lower bound.
        p: The two-sided p-value.
        wins: On how many questions ours is better; None for a metric of the whole.
        losses: On how many questions ours is worse; None for a metric of the whole.
        detectable: The minimum detectable effect of a comparison like this one, with 80% power
            (`closed_form.detectable_difference`).
        p_adjusted: `p` adjusted for multiple testing, where the difference is one of a family.
    """

    value: float
    low: float
    high: float
    at_least: float
    p: float
    n: int
    wins: int | None
    losses: int | None
    detectable: float
    p_adjusted: float | None = optional()

    @property
    def better(self) -> bool:
        """Whether ours is significantly better, after adjustment where there is one."""
        return self.value > 0 and self.adjusted_p < LEVEL

    @property
    def worse(self) -> bool:
        """Whether ours is significantly worse, after adjustment where there is one."""
        return self.value < 0 and self.adjusted_p < LEVEL

    @property
    def adjusted_p(self) -> float:
        """`p_adjusted`, or `p` where the difference is not one of a family."""
        return self.p if self.p_adjusted is None else self.p_adjusted


class Side:
    """One or several runs of the same questions under one metric, rows in the order of the sorted `ids`.

    Made once, it serves any number of differences.

    Args:
        metric: The metric.
        answers: One run, or several that differ only by their seed.
        name: The metric's name in `Answers.statistics`; statistics that are not there are computed.
    """

    def __init__(self, metric: Metric, answers: Answers | Sequence[Answers], name: str = "") -> None:
        self.metric = metric
        self.runs = (answers,) if isinstance(answers, Answers) else tuple(answers)
        first = self.runs[0]
        if not first.ids:
            raise DataError("There is no question to measure", f"request '{first.request.name}'", "give it test rows")
        for run in self.runs[1:]:
            check_same_questions(first, run)
        self.ids = tuple(sorted(first.ids))
        self.n = len(self.ids)
        self.numbers = [_statistics(metric, run, name)[np.argsort(run.ids)] for run in self.runs]
        self.values = self.fold(np.stack([numbers.sum(axis=0) for numbers in self.numbers]))
        self.value = float(self.values.mean())
        clusters = first.clusters()
        self.clusters = None if clusters is None else clusters[np.argsort(first.ids)]
        self._drawn: dict[int, Floats] = {}

    @property
    def share(self) -> bool:
        """Whether this is a share of right answers among independent questions, from one run."""
        return bool(getattr(self.metric, "binary", False)) and self.clusters is None and len(self.runs) == 1

    @property
    def units(self) -> int:
        """How many independent questions or clusters there are."""
        return units_of(self.n, self.clusters)

    @property
    def stacked(self) -> Floats:
        """The numbers of all runs side by side, shape (n, runs x d)."""
        return np.concatenate(self.numbers, axis=1)

    @property
    def by_question(self) -> Floats | None:
        values = [question_values(self.metric, numbers) for numbers in self.numbers]
        known = [each for each in values if each is not None]
        return np.mean(known, axis=0) if known else None

    def fold(self, sums: Floats) -> Floats:
        return folded(self.metric, sums)

    def drawn(self, seed: int) -> Floats:
        """Each run's value for each draw of questions, shape (draws, runs); equal seeds give equal draws."""
        if seed not in self._drawn:
            sums = bootstrap_sums(self.stacked, self.clusters, seed)
            self._drawn[seed] = self.fold(sums.reshape(len(sums), len(self.runs), -1))
        return self._drawn[seed]

    def chance_of_seeds(self, seed: int) -> tuple[float, int]:
        """The variance that the choice of seeds gives to the mean over runs, and its degrees of freedom.

        Runs differ by their seeds and by how each seed's answers fall on these very questions. The second part is in
        the draws of questions already, so it is taken off: what the spread of the runs has beyond it is the seeds' own.
        With one run nothing is known of it.
        """
        runs = len(self.runs)
        if runs == 1:
            return 0.0, 1
        drawn = self.drawn(seed)
        fall = float((drawn - drawn.mean(axis=1, keepdims=True)).var(axis=0).mean()) * runs / (runs - 1)
        return max(0.0, float(self.values.var(ddof=1)) - fall) / runs, runs - 1


def _statistics(metric: Metric, run: Answers, name: str) -> Floats:
    known = run.statistics.get(name)
    return numbers_of(metric, run.predictions, run.examples, run.request.task) if known is None else known


def measure(metric: Metric, answers: Answers | Sequence[Answers], seed: int) -> Measured:
    """The metric's value, the mean over runs where there are several, and its interval."""
    return measured(Side(metric, answers), seed)


def measured(side: Side, seed: int) -> Measured:
    """`measure` of a side already made."""
    low, high = _interval(side, seed, 0.95)
    return Measured(side.value, min(low, side.value), max(high, side.value), side.n)


def at_least(side: Side, seed: int) -> float:
    """The one-sided 95% lower bound of a side's value."""
    return min(_interval(side, seed, 0.9)[0], side.value)


def _interval(side: Side, seed: int, confidence: float) -> tuple[float, float]:
    if side.share:
        return wilson(float(side.numbers[0][:, 0].sum()), side.n, confidence)
    drawn = drawn_interval(side.drawn(seed).mean(axis=1), side.value, side.units, confidence=confidence)
    low, high = joined_interval(side.value, drawn, *side.chance_of_seeds(seed), confidence)
    return max(0.0, low), min(1.0, high)


def drawn_interval(
    draws: Floats, value: float, units: int, bounds: tuple[float, float] = (0.0, 1.0), confidence: float = 0.95
) -> tuple[float, float]:
    """The interval of a value within `bounds` from its bootstrap draws, shape (draws,), of so many independent units.

    Where all draws are equal they say nothing of rows not seen: then it is Wilson's interval of a share of the units.
    """
    floor, width = bounds[0], bounds[1] - bounds[0]
    draws = np.clip(widened(draws, units), *bounds)
    if _all_equal(draws) and np.isfinite(width):
        low, high = wilson((value - floor) / width * units, units, confidence)
        return floor + width * low, floor + width * high
    return bias_corrected_interval(draws, value, confidence)


def paired_bounds(wins: float, losses: float, n: int) -> tuple[float, float, float]:
    """Of the difference of two shares right on the same `n` questions: the lower end of the 95% interval, the one-sided
    95% lower bound, the upper end."""
    low, high = paired_share_interval(wins, losses, n)
    return low, paired_share_interval(wins, losses, n, confidence=0.9)[0], high


def drawn_bounds(draws: Floats, value: float, units: int) -> tuple[float, float, float]:
    """`paired_bounds` of a difference `value` from its draws; in closed form where all draws are equal."""
    if _all_equal(draws):
        return paired_bounds(max(value, 0.0) * units, max(-value, 0.0) * units, units)
    low, at_least, high = (float(q) for q in np.quantile(draws, [0.025, 0.05, 0.975]))
    return low, at_least, high


def _all_equal(draws: Floats) -> bool:
    return bool(draws.max() - draws.min() < 1e-12)


def mean_over_runs(found: Sequence[Measured]) -> Measured:
    """The mean of one figure over runs that differ by their seed, where only each run's interval is known.

    The runs have the same questions, so their intervals are not independent evidence: the distances of the mean
    interval are kept, and the runs' own spread is added to them by squares, as Student's t (Zou and Donner 2008). That
    counts the sampling of questions twice, so the interval is a little too wide, never too narrow.
    """
    from scipy.stats import t

    value, low, high = (float(np.mean([getattr(each, key) for each in found])) for key in ("value", "low", "high"))
    runs = len(found)
    if runs > 1:
        spread = float(np.std([each.value for each in found], ddof=1)) / sqrt(runs)
        reach = float(t.ppf(0.975, runs - 1)) * spread
        low, high = value - hypot(value - low, reach), value + hypot(high - value, reach)
    return Measured(value, low, high, found[0].n)


def paired_difference(
    metric: Metric, ours: Answers | Sequence[Answers], theirs: Answers | Sequence[Answers], seed: int
) -> Difference:
    """Ours minus theirs, question by question.

    Raises DataError, naming the difference, unless all runs answered the same questions. With one run a side, p is from
    McNemar's exact test for a share of independent questions, else from a permutation test. With several runs on a
    side, swapping questions would leave the chance of the seeds out: then p is from the same draws as the interval.
    """
    return difference(Side(metric, ours), Side(metric, theirs), seed)


def difference(ours: Side, theirs: Side, seed: int, mid_p: bool = False, level: float = 0.05) -> Difference:
    """`paired_difference` of two sides already made under the same metric. `mid_p` is McNemar's; `level` that at which
    a difference counts as found, for `detectable`."""
    check_same_questions(ours.runs[0], theirs.runs[0])
    value = ours.value - theirs.value
    one, other = ours.by_question, theirs.by_question
    wins, losses = (None, None) if one is None or other is None else discordant(one, other)
    if ours.share and theirs.share and wins is not None and losses is not None:
        low, at_least, high = paired_bounds(wins, losses, ours.n)
        p = mcnemar(wins, losses, mid_p)
        # half a question in each cell, as in the interval: no disagreement seen is not no disagreement
        detectable = detectable_difference((wins + losses + 1) / (ours.n + 2), ours.n, level)
    else:
        gaps = widened(ours.drawn(seed).mean(axis=1) - theirs.drawn(seed).mean(axis=1), ours.units)
        draws = np.clip(_with_seeds(gaps, [ours, theirs], seed), -1, 1)
        low, at_least, high = drawn_bounds(draws, value, ours.units)
        if len(ours.runs) == len(theirs.runs) == 1:
            p = permutation_p(ours.stacked, theirs.stacked, ours.fold, ours.clusters, seed)
        else:
            hits = int(np.sum(np.abs(draws - draws.mean()) >= abs(value) - 1e-12))
            p = (hits + 1) / (len(draws) + 1)
        detectable = min(1.0, detectable_of((high - low) / 2, level))
    return Difference(
        value, min(low, value), max(high, value), min(at_least, value), p, ours.n, wins, losses, detectable
    )


def _with_seeds(drawn: Floats, sides: Sequence[Side], seed: int) -> Floats:
    """The draws of questions, shape (draws,), with the chance of the seeds added.

    Seeds are few, so they are not drawn again: their part is Student's t (for two sides, Welch's).
    Two seeds a side are too few to be sure of much; three are the least that is worth its cost.
    """
    parts = [side.chance_of_seeds(seed) for side in sides]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return drawn
    freedom = variance**2 / sum(part**2 / each for part, each in parts)
    generator = np.random.default_rng([seed, 1])
    return drawn + sqrt(variance) * generator.standard_t(freedom, size=len(drawn))


def discordant(ours: Floats, theirs: Floats) -> tuple[int, int]:
    """On how many questions ours is better, and on how many worse."""
    return int(np.sum(ours > theirs + 1e-12)), int(np.sum(theirs > ours + 1e-12))
