"""Confidence and correctness of answers as arrays, and the calibration figures computed from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.statistics.resampling import Clusters, bootstrap_picks
from stepladder.types import Example, Prediction

COLDEST, HOTTEST = 0.05, 20.0
ERROR_DRAWS, ERROR_SIZES = 1000, 301
LEAST = float(np.finfo(np.float64).eps)
"""What a probability of 0 counts as in a logarithm, as in scikit-learn's `log_loss`."""


@dataclass(frozen=True)
class Probabilities:
    """What was said of every label: `logs`, shape (rows, labels), -inf where there is none; `true`, the place of the
    label that counts, -1 where nothing was said of it; `right`, whether the answer counts."""

    logs: Floats
    true: NDArray[np.intp]
    right: Floats

    def at(self, temperature: float) -> Floats:
        """The probabilities, each row's logarithms divided by `temperature` and made to sum to one again."""
        scaled = self.logs / temperature
        weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares: Floats = weights / weights.sum(axis=1, keepdims=True)
        return shares

    def of_true(self, temperature: float) -> Floats:
        """The probability of the label that counts, shape (rows,)."""
        of_true = self.at(temperature)[np.arange(len(self.true)), self.true]
        return np.where(self.true < 0, 0.0, of_true)

    def nll(self, temperature: float = 1.0) -> Floats:
        """Each row's negative log-likelihood in nats, shape (rows,)."""
        return np.asarray(-np.log(np.clip(self.of_true(temperature), LEAST, 1)))

    def brier(self, temperature: float = 1.0) -> Floats:
        """Each row's squared distance to the truth over all labels (Brier 1950), from 0 to 2, shape (rows,)."""
        return np.asarray((self.at(temperature) ** 2).sum(axis=1) - 2 * self.of_true(temperature) + 1)


def probabilities(predictions: Sequence[Prediction], examples: Sequence[Example]) -> Probabilities:
    """Of rows that all have probabilities of all their labels; what is 0 of its own accord stays 0."""
    widest = max((len(p.probabilities or ()) for p in predictions), default=0)
    logs = np.full((len(predictions), widest), -np.inf)
    true = np.full(len(predictions), -1, dtype=np.intp)
    right = np.zeros(len(predictions))
    for row, (prediction, example) in enumerate(zip(predictions, examples, strict=True)):
        for place, (label, share) in enumerate((prediction.probabilities or {}).items()):
            logs[row, place] = log(share) if share > 0 else -np.inf
            if label in example.answers and (true[row] < 0 or label == prediction.text):
                true[row] = place
        right[row] = float(prediction.failure is None and prediction.text in example.answers)
    return Probabilities(logs, true, right)


@dataclass(frozen=True)
class Sure:
    """Answers with their probabilities; those without any (failures) are wrong answers of confidence 0, where an order
    of confidence is asked for, and say nothing of how sure the others are."""

    answers: Answers
    mask: NDArray[np.bool_]
    known: Probabilities

    @classmethod
    def of(cls, answers: Answers) -> Sure:
        pairs = list(zip(answers.predictions, answers.examples, strict=True))
        mask = np.array([bool(p.probabilities) and p.failure is None for p, _ in pairs], dtype=bool)
        some = [pair for pair, there in zip(pairs, mask, strict=True) if there]
        return cls(answers, mask, probabilities([p for p, _ in some], [e for _, e in some]))

    @property
    def failed(self) -> int:
        return int((~self.mask).sum())

    @property
    def clusters(self) -> Clusters | None:
        return self.answers.clusters()

    @property
    def clusters_usable(self) -> Clusters | None:
        return clusters_of(self.answers.examples, self.mask)

    def usable(self, temperature: float) -> Floats:
        """The confidence of the answers that have one."""
        return np.asarray(self.known.at(temperature).max(axis=1))

    def everywhere(self, temperature: float) -> tuple[Floats, Floats]:
        """Confidence and right or wrong of all questions."""
        confidence, right = np.zeros(len(self.mask)), np.zeros(len(self.mask))
        if self.mask.any():
            confidence[self.mask] = self.usable(temperature)
            right[self.mask] = self.known.right
        return confidence, right


def fitted_temperature(known: Probabilities) -> float:
    """The temperature that makes the true labels of these rows likeliest (Guo et al. 2017, arXiv 1706.04599)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda logarithm: float(known.nll(exp(logarithm)).mean()), bounds=(log(COLDEST), log(HOTTEST)), method="bounded"
    )
    return exp(float(found.x))


def tied(confidence: Floats, right: Floats) -> Floats:
    """`right` averaged over rows of equal confidence, because these rows have no order."""
    _, group = np.unique(confidence, return_inverse=True)
    means: Floats = np.bincount(group, right) / np.bincount(group)
    return means[group]


def bins_of(confidence: Floats, right: Floats, bins: int) -> list[tuple[float, float, int]]:
    """Mean confidence, share right and size of bins of equal mass, the least sure first."""
    smooth = tied(confidence, right)
    parts = np.array_split(np.argsort(confidence, kind="stable"), min(bins, len(confidence)))
    return [(float(confidence[part].mean()), float(smooth[part].mean()), len(part)) for part in parts]


def ece(confidence: Floats, right: Floats, bins: int) -> float:
    """Expected calibration error over bins of equal mass: the mean gap between how sure and how often right."""
    found = bins_of(confidence, right, bins)
    return sum(abs(sure - share) * size for sure, share, size in found) / len(confidence)


def calibration_error(confidence: Floats, right: Floats, bins: int, clusters: Clusters | None, seed: int) -> Measured:
    """ECE over bins of equal mass. Its interval: the sizes of a true error, in the shape of the gaps seen, under which
    at least 2.5% of the draws of noise show an error as great as the one seen, and 2.5% one as small.

    The error sums absolute gaps, so noise alone makes it greater, and drawing rows again makes it greater once more:
    the quantiles of draws miss the truth. So noise is drawn around gaps of every size.
    """
    n = len(confidence)
    value, (gaps, weights) = ece(confidence, right, bins), _gaps(confidence, right, bins)
    drawn = [_gaps(confidence[rows], right[rows], bins)[0] for rows in bootstrap_picks(n, clusters, seed, ERROR_DRAWS)]
    noise = np.array([each - gaps for each in drawn if len(each) == len(gaps)])
    spread = float(np.mean(np.abs(noise) @ weights)) if len(noise) else 0.0
    if spread < 1e-12:  # drawing equal rows again says nothing of rows not seen
        return Measured(value, 0.0, 1.0, n)
    shape = gaps / value if value > 1e-9 else np.ones(len(gaps))
    sizes = np.linspace(0, 3 * value + 6 * spread, ERROR_SIZES)
    shown = np.stack([np.abs(size * shape + noise) @ weights for size in sizes])
    great, small = (np.mean(seen, axis=1) >= 0.025 for seen in (shown >= value - 1e-12, shown <= value + 1e-12))
    low = float(sizes[great][0]) if great.any() else value
    high = float(sizes[small][-1]) if small.any() else value
    return Measured(value, min(low, value), min(1.0, max(high, value)), n)


def _gaps(confidence: Floats, right: Floats, bins: int) -> tuple[Floats, Floats]:
    found = np.array(bins_of(confidence, right, bins))
    return found[:, 0] - found[:, 1], found[:, 2] / found[:, 2].sum()


def ece_by_chance(confidence: Floats, bins: int, seed: int, draws: int = 200) -> float:
    """The mean ECE that these confidences would show if each were exactly true (Broecker and Smith 2007)."""
    generator = np.random.default_rng(seed)
    right = (generator.random((draws, len(confidence))) < confidence).astype(np.float64)
    return float(np.mean([ece(confidence, each, bins) for each in right]))


def risks(confidence: Floats, right: Floats) -> Floats:
    """The share wrong among the k surest rows, for k = 1 ... n, shape (n,)."""
    order = np.argsort(-confidence, kind="stable")
    wrong: Floats = 1 - tied(confidence, right)[order]
    return np.asarray(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))


def aurc(confidence: Floats, right: Floats) -> float:
    """Area under the risk-coverage curve (Geifman et al. 2018, arXiv 1805.08206): 0 is best."""
    return float(risks(confidence, right).mean())


def reach(confidence: Floats, right: Floats, wanted: float) -> tuple[float, float]:
    """The greatest share of rows that can be answered with at least `wanted` of them right, and the least confidence
    among them (infinite where there is none). Rows of equal confidence are answered together or not at all."""
    ordered = np.sort(confidence)[::-1]
    ends = np.append(ordered[1:] != ordered[:-1], True)
    good = np.flatnonzero(ends & (1 - risks(confidence, right) >= wanted - 1e-12))
    return ((good[-1] + 1) / len(confidence), float(ordered[good[-1]])) if len(good) else (0.0, float("inf"))
