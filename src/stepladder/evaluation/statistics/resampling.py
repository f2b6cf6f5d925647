"""Bootstrap and permutation over questions, or over clusters of questions, as products of matrices.

Knows numbers that add up, shape (n, d), and a fold of their sums; knows no prediction. Seeded: the same numbers and
seed give the same draws. Weights are made in blocks, so that memory does not grow with the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Clusters = NDArray[np.intp]

BOOTSTRAP_DRAWS = 5000
PERMUTATION_DRAWS = 9999
ENUMERATED = 12  # so many units that differ are flipped in all 2**12 ways; beyond that ways are drawn
_BLOCK = 2_000_000  # weights held at once


def by_cluster(numbers: Floats, clusters: Clusters | None) -> Floats:
    """Sums of the rows of each cluster, shape (clusters, d); the rows themselves where there are no clusters."""
    if clusters is None:
        return numbers
    sums = np.zeros((units_of(len(numbers), clusters), numbers.shape[1]))
    np.add.at(sums, clusters, numbers)
    return sums


def bootstrap_sums(numbers: Floats, clusters: Clusters | None, seed: int, draws: int = BOOTSTRAP_DRAWS) -> Floats:
    """Sums over questions drawn with replacement, shape (draws, d); whole clusters are drawn where there are some."""
    units = by_cluster(numbers, clusters)
    n = len(units)
    generator = np.random.default_rng(seed)
    sums = np.empty((draws, units.shape[1]))
    for start, size in _blocks(draws, n):
        picks = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        weights = np.bincount(picks.ravel(), minlength=size * n).reshape(size, n)
        sums[start : start + size] = weights.astype(np.float64) @ units
    return sums


def bootstrap_picks(n: int, clusters: Clusters | None, seed: int, draws: int) -> Iterator[Clusters]:
    """The rows of each draw with replacement, by their places; whole clusters where there are some.

    For what is no fold of sums, such as what hangs on an order: slower than `bootstrap_sums`.
    """
    generator = np.random.default_rng(seed)
    if clusters is None:
        for _ in range(draws):
            yield generator.integers(n, size=n)
        return
    order = np.argsort(clusters, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(clusters))[:-1])
    for _ in range(draws):
        yield np.concatenate([members[i] for i in generator.integers(len(members), size=len(members))])


def units_of(n: int, clusters: Clusters | None) -> int:
    """How many independent units `n` rows are: their clusters, or the rows themselves."""
    return n if clusters is None else int(clusters.max()) + 1


def widened(draws: Floats, units: int) -> Floats:
    """`draws` moved away from their mean as far as few units ask for.

    Drawn from n units, a mean spreads sqrt((n - 1) / n) too little, and a normal curve's 2.5 % stand where Student's t
    should (Hesterberg 2015, the expanded percentile interval). Past some hundred units nothing is left of it.
    """
    from scipy.stats import norm, t

    if units < 2:
        return draws
    factor = sqrt(units / (units - 1)) * float(t.ppf(0.975, units - 1) / norm.ppf(0.975))
    middle = draws.mean()
    return np.asarray(middle + (draws - middle) * factor)


def bias_corrected_interval(draws: Floats, value: float, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of `value` from its draws: percentiles, moved by twice the draws' median bias (Efron 1981, BC, as it
    is where draws spread alike on both sides).

    A mean has no such bias, macro-F1 over many labels with few questions each has: a drawn set misses whole labels, so
    the draws lie below the value, as the value lies below the truth. BC itself reads the bias off the share of draws
    below the value, which says nothing more where all of them are.
    """
    edges = 0.5 - confidence / 2, 0.5 + confidence / 2
    low, high = np.quantile(draws, edges) + 2 * (value - float(np.median(draws)))
    return float(low), float(high)


def permutation_p(
    ours: Floats,
    theirs: Floats,
    fold: Callable[[Floats], Floats],
    clusters: Clusters | None,
    seed: int,
    draws: int = PERMUTATION_DRAWS,
) -> float:
    """Two-sided p-value of fold(ours) = fold(theirs) when the two sides of any question may be swapped.

    Swaps whole clusters. All ways are counted where few units differ, else `draws` are drawn and what was seen counts
    as one of them: (hits + 1) / (draws + 1). For a mean this is the paired sign-flip test.
    """
    change = by_cluster(theirs - ours, clusters)
    change = change[np.any(change != 0, axis=1)]
    total_ours, total_theirs = ours.sum(axis=0), theirs.sum(axis=0)

    def distance(swaps: Floats) -> Floats:
        moved = swaps @ change
        return np.abs(fold(total_ours + moved) - fold(total_theirs - moved))

    seen = distance(np.zeros((1, len(change))))[0] - 1e-12
    if len(change) <= ENUMERATED:
        ways = np.arange(2 ** len(change))[:, None] >> np.arange(len(change)) & 1
        return float(np.mean(distance(ways.astype(np.float64)) >= seen))
    generator = np.random.default_rng(seed)
    hits = 0
    for _, size in _blocks(draws, len(change)):
        swaps = generator.integers(2, size=(size, len(change))).astype(np.float64)
        hits += int(np.sum(distance(swaps) >= seen))
    return (hits + 1) / (draws + 1)


def _blocks(draws: int, units: int) -> list[tuple[int, int]]:
    step = max(1, _BLOCK // max(1, units))
    return [(start, min(step, draws - start)) for start in range(0, draws, step)]
