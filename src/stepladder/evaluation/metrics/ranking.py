"""Ranking metrics of retrieval: recall, reciprocal rank, discounted cumulative gain."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import log2


def recall_at(ranking: Sequence[str], gold: Collection[str], k: int) -> float:
    """The share of the gold passages among the first k."""
    return len({*ranking[:k]} & {*gold}) / len({*gold})


def reciprocal_rank(ranking: Sequence[str], gold: Collection[str]) -> float:
    """One over the rank of the first gold passage; 0 where there is none."""
    return next((1 / place for place, id_ in enumerate(ranking, 1) if id_ in gold), 0.0)


def ndcg(ranking: Sequence[str], gold: Collection[str], k: int) -> float:
    """Normalised discounted cumulative gain of the first k, each gold gaining 1 (Jaervelin and Kekaelaeinen 2002)."""
    gained = sum(1 / log2(place + 1) for place, id_ in enumerate(ranking[:k], 1) if id_ in gold)
    return gained / sum(1 / log2(place + 1) for place in range(1, min(k, len({*gold})) + 1))
