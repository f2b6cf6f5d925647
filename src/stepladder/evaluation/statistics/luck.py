"""The expected luck of a selection: by how much the best of n equally good trials exceeds their mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stepladder.evaluation.statistics.resampling import Clusters, Floats, by_cluster

LUCK_DRAWS = 1000


@dataclass(frozen=True)
class Luck:
    """What selection alone adds to the score of the best trial.

    Attributes:
        value: The expected excess of the best score over the mean score if all trials were equally good.
        trials: From how many trials the best was selected.
        rows: The number of validation rows that they were scored on.
    """

    value: float
    trials: int
    rows: int

    def __str__(self) -> str:
        return f"Best of {self.trials} on {self.rows:,} validation rows: about +{self.value:.2f} would be luck."


def expected_luck(scores: Floats, clusters: Clusters | None, seed: int, draws: int = LUCK_DRAWS) -> Luck:
    """The luck of the best of several trials, from the scores of each question.

    If all trials are equally good, the scores of a question are exchangeable between the trials: what differs is which
    trial happened to answer which question correctly. So each question's scores are permuted over the trials, and the
    best mean minus the overall mean is averaged over the permutations. Hard questions stay hard for all trials, so the
    correlation between trials is kept. This is the permutation distribution of the maximum statistic (Westfall and
    Young 1993, Resampling-Based Multiple Testing; for the optimism of selected scores see Cawley and Talbot 2010).

    Args:
        scores: The score of each trial on each question, shape (trials, questions).
        clusters: The group of each question; the scores of a group are permuted together. None: no groups.
        seed: Of the permutations.
        draws: The number of permutations.
    """
    trials, rows = scores.shape
    units = by_cluster(scores.T, clusters).T
    generator = np.random.default_rng(seed)
    best = [generator.permuted(units, axis=0).sum(axis=1).max() for _ in range(draws)]
    excess = (float(np.mean(best)) - float(units.sum()) / trials) / rows
    return Luck(max(0.0, excess), trials, rows)
