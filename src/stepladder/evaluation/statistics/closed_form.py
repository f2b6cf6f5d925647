"""Tests and intervals in closed form: numbers in, numbers out.

`estimates.py` applies them to metrics. Confidence is 95% unless it is given. scipy and statsmodels are imported at
first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import ceil, hypot, log2, sqrt

Interval = tuple[float, float]


def mcnemar(wins: int, losses: int, mid_p: bool = False) -> float:
    """Two-sided p-value of McNemar's exact test from the two discordant counts.

    Under the null each discordant question falls to either side with 1/2. With `mid_p` half of the probability of what
    was seen is taken off each tail (Fagerland, Lydersen, Laake 2013): less conservative, no longer exact.
    """
    from scipy.stats import binom

    discordant, fewer = wins + losses, min(wins, losses)
    if not mid_p:
        return min(1.0, 2 * float(binom.cdf(fewer, discordant, 0.5)))
    seen = float(binom.pmf(fewer, discordant, 0.5))
    if wins == losses:
        return 1 - seen / 2
    return 2 * float(binom.cdf(fewer, discordant, 0.5)) - seen


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the family-wise error rate stays below the level, in the order given (Holm 1979).

    statsmodels has this too, but runs a full garbage collection at every call: 0.3 s where torch is loaded.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = highest
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that the false discovery rate stays below the level, in the order given."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="fdr_bh")[1]] if p_values else []


def wilson(right: float, n: float, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of a share: covers well even where the share is near 0 or 1."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(right, n, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def paired_share_interval(wins: float, losses: float, n: int, confidence: float = 0.95) -> Interval:
    """Interval of the difference of two shares right on the same `n` questions.

    Wald's interval after half a question is added to each of the four cells (Agresti and Min 2005): unlike a bootstrap
    it does not shrink to a point where the two sides agree on every question.
    """
    from scipy.stats import norm

    total, net = n + 2, wins - losses
    reach = float(norm.ppf(0.5 + confidence / 2)) * sqrt(wins + losses + 1 - net**2 / total) / total
    return max(-1.0, net / total - reach), min(1.0, net / total + reach)


def unpaired_share_interval(one: tuple[float, int], other: tuple[float, int]) -> Interval:
    """Interval of the difference of two shares (right, n) of different rows: Newcombe's, from two Wilson intervals."""
    from statsmodels.stats.proportion import confint_proportions_2indep

    low, high = confint_proportions_2indep(*one, *other, method="newcomb", compare="diff")
    return float(low), float(high)


def fisher(one: tuple[int, int], other: tuple[int, int]) -> float:
    """Two-sided p-value of Fisher's exact test that two shares (right, n) of different rows are one."""
    from scipy.stats import fisher_exact

    return float(fisher_exact([[one[0], one[1] - one[0]], [other[0], other[1] - other[0]]]).pvalue)


def joined_interval(
    value: float, interval: Interval, variance: float, freedom: float, confidence: float = 0.95
) -> Interval:
    """The interval of a share when a second, independent part is added to its chance: one of mean 0 whose `variance`
    was found with so many degrees of `freedom`. Distances to the limits are added as squares (Zou and Donner 2008)."""
    from scipy.stats import t

    if variance == 0:
        return interval
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * sqrt(variance)
    below, above = max(0.0, value - interval[0]), max(0.0, interval[1] - value)
    return max(0.0, value - hypot(below, reach)), min(1.0, value + hypot(above, reach))


def detectable_difference(disagreement: float, n: float, level: float = 0.05, power: float = 0.8) -> float:
    """The minimum detectable difference of two shares of right answers on the same `n` questions.

    It is the difference that a two-sided test at `level` detects with `power`, where the two sides disagree on the
    share `disagreement` of the questions: z(1 - level / 2) + z(power) standard errors from zero (Bloom 1995, "Minimum
    detectable effects"). The standard error of a paired difference d is sqrt((disagreement - d^2) / n), and d is solved
    for. It is never below what sides need that disagree only where one is right: d cannot exceed the disagreement.
    """
    reach = _reach(level, power) ** 2
    return sqrt(reach / (n + reach)) * max(sqrt(min(disagreement, 1.0)), sqrt(reach / (n + reach)))


def detectable_of(half_width: float, level: float = 0.05, power: float = 0.8) -> float:
    """`detectable_difference` from half the width of a 95% interval."""
    from scipy.stats import norm

    return half_width / float(norm.ppf(0.975)) * _reach(level, power)


def usable_questions(comparisons: int = 1, difference: float = 0.5, level: float = 0.05, power: float = 0.8) -> int:
    """The fewest questions with which a comparison can be judged at all.

    With fewer, McNemar's exact test misses even a `difference` of one half (in shares of right answers) more often than
    `power` allows, where the two sides disagree only on questions that the better one gets right. The test is held to
    Holm's first step over `comparisons`, so at least ceil(log2(2 * comparisons / level)) such questions must be seen.
    """
    from scipy.stats import binom

    fewest = ceil(log2(2 * max(1, comparisons) / level))
    return next(n for n in count(fewest) if float(binom.sf(fewest - 1, n, difference)) >= power)


def questions_for(difference: float, detectable: float, n: int) -> int:
    """About how many questions detect `difference`, where `n` of them detect `detectable` (a standard error falls with
    the square root of the number of questions)."""
    return ceil(n * (detectable / difference) ** 2)


def _reach(level: float, power: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(1 - level / 2) + norm.ppf(power))
