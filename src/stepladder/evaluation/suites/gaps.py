"""The gaps between parts of the rows and the rest, for many parts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.statistics.closed_form import fisher, holm, unpaired_share_interval
from stepladder.evaluation.statistics.resampling import Clusters, bootstrap_sums, by_cluster, units_of, widened

DEALS, BLOCK = 5000, 500


@dataclass(frozen=True)
class Gap:
    """The mean of a part less that of the rest, with its 95% interval; `n` rows are in the part."""

    value: float
    low: float
    high: float
    n: int
    p: float
    p_adjusted: float


def gaps(values: Floats, clusters: Clusters | None, parts: Sequence[NDArray[np.bool_]], seed: int) -> list[Gap]:
    """One gap per part; each part and its rest must have rows.

    Right and wrong of independent rows get Newcombe's interval and Fisher's exact test, all else a bootstrap's
    interval and a permutation test.
    p-values are adjusted by Holm over different splits: a part and its rest are one.
    """
    exact = clusters is None and bool(np.all((values == 0) | (values == 1)))
    found = _exact(values, parts) if exact else _drawn(values, clusters, parts, seed)
    splits = [min(rows.tobytes(), (~rows).tobytes()) for rows in parts]
    first = {split: i for i, split in reversed(list(enumerate(splits)))}
    adjusted = dict(zip(first, holm([found[i][3] for i in first.values()]), strict=True))
    return [
        Gap(value, min(low, value), max(high, value), int(rows.sum()), p, adjusted[split])
        for (value, low, high, p), rows, split in zip(found, parts, splits, strict=True)
    ]


def _exact(values: Floats, parts: Sequence[NDArray[np.bool_]]) -> list[tuple[float, float, float, float]]:
    found = []
    for rows in parts:
        one, other = (int(values[rows].sum()), int(rows.sum())), (int(values[~rows].sum()), int((~rows).sum()))
        low, high = unpaired_share_interval(one, other)
        found.append((one[0] / one[1] - other[0] / other[1], low, high, fisher(one, other)))
    return found


def _drawn(
    values: Floats, clusters: Clusters | None, parts: Sequence[NDArray[np.bool_]], seed: int
) -> list[tuple[float, float, float, float]]:
    columns = np.stack([c for rows in parts for c in (values * rows, rows, values * ~rows, ~rows)], axis=1)
    sums = bootstrap_sums(columns.astype(np.float64), clusters, seed).reshape(-1, len(parts), 4)
    found = []
    for part, rows in enumerate(parts):
        drawn = sums[:, part][(sums[:, part, 1] > 0) & (sums[:, part, 3] > 0)]
        draws = drawn[:, 0] / drawn[:, 1] - drawn[:, 2] / drawn[:, 3]
        value = float(values[rows].mean() - values[~rows].mean())
        if len(draws) == 0 or draws.max() - draws.min() < 1e-12:  # resampling equal rows says nothing of rows not seen
            low, high = unpaired_share_interval(*((float(values[r].sum()), int(r.sum())) for r in (rows, ~rows)))
        else:
            units = units_of(len(values), clusters)
            low, high = (float(q) for q in np.clip(np.quantile(widened(draws, units), [0.025, 0.975]), -1, 1))
        found.append((value, low, high, _dealt_p(values, rows, clusters, seed)))
    return found


def _dealt_p(values: Floats, rows: NDArray[np.bool_], clusters: Clusters | None, seed: int) -> float:
    """Two-sided p-value that the part is any part: it is dealt out anew among the rows, among whole clusters where none
    stands on both sides. What was seen counts as one of the deals."""
    ones = np.stack([values, np.ones(len(values))], axis=1)
    flags = rows.astype(np.float64)
    if clusters is not None:
        held = by_cluster(np.stack([flags, np.ones(len(flags))], axis=1), clusters)
        if np.all((held[:, 0] == 0) | (held[:, 0] == held[:, 1])):
            ones, flags = by_cluster(ones, clusters), (held[:, 0] > 0).astype(np.float64)
    generator, total = np.random.default_rng([seed, 2]), ones.sum(axis=0)

    def distance(dealt: Floats) -> Floats:
        inside = dealt @ ones
        outside = total - inside
        return np.asarray(np.abs(inside[:, 0] / inside[:, 1] - outside[:, 0] / outside[:, 1]))

    seen, hits = distance(flags[None])[0] - 1e-12, 0
    for _ in range(DEALS // BLOCK):
        hits += int(np.sum(distance(generator.permuted(np.tile(flags, (BLOCK, 1)), axis=1)) >= seen))
    return (hits + 1) / (DEALS + 1)
