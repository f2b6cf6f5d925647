"""The expected calibration error with an interval that holds.

The error sums absolute gaps, so noise alone makes it greater, and drawing rows again makes it greater once more: the
quantiles of draws miss the truth. Here noise is drawn around gaps of every size, and those sizes are kept under which
an error such as the one seen is no rarity.
"""

from __future__ import annotations

import numpy as np

from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.statistics.resampling import Clusters, bootstrap_picks
from stepladder.evaluation.suites.confidence import bins_of, ece

DRAWS, STEPS = 1000, 301


def calibration_error(confidence: Floats, right: Floats, bins: int, clusters: Clusters | None, seed: int) -> Measured:
    """ECE over bins of equal mass. Its interval: the sizes of a true error, in the shape of the gaps seen, under which
    at least 2.5% of the draws of noise show an error as great as the one seen, and 2.5% one as small."""
    n = len(confidence)
    value, (gaps, weights) = ece(confidence, right, bins), _gaps(confidence, right, bins)
    drawn = [_gaps(confidence[rows], right[rows], bins)[0] for rows in bootstrap_picks(n, clusters, seed, DRAWS)]
    noise = np.array([each - gaps for each in drawn if len(each) == len(gaps)])
    spread = float(np.mean(np.abs(noise) @ weights)) if len(noise) else 0.0
    if spread < 1e-12:  # drawing equal rows again says nothing of rows not seen
        return Measured(value, 0.0, 1.0, n)
    shape = gaps / value if value > 1e-9 else np.ones(len(gaps))
    sizes = np.linspace(0, 3 * value + 6 * spread, STEPS)
    shown = np.stack([np.abs(size * shape + noise) @ weights for size in sizes])
    great, small = (np.mean(seen, axis=1) >= 0.025 for seen in (shown >= value - 1e-12, shown <= value + 1e-12))
    low = float(sizes[great][0]) if great.any() else value
    high = float(sizes[small][-1]) if small.any() else value
    return Measured(value, min(low, value), min(1.0, max(high, value)), n)


def _gaps(confidence: Floats, right: Floats, bins: int) -> tuple[Floats, Floats]:
    found = np.array(bins_of(confidence, right, bins))
    return found[:, 0] - found[:, 1], found[:, 2] / found[:, 2].sum()
