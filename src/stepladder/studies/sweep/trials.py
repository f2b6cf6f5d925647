"""The trials of a study as plain values: counts, the best, the front."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.results import Trial, TrialCounts


def counts(trials: Sequence[Trial]) -> TrialCounts:
    return TrialCounts(*(sum(t.state == state for t in trials) for state in ("complete", "pruned", "failed")))


def front(trials: Sequence[Trial], sought: Sequence[Objective]) -> list[Trial]:
    """The finished trials that no other beats in one objective without losing in another (of equal ones the first);
    with one objective, the best. Best first by the first objective."""
    finished = [t for t in trials if t.state == "complete" and t.values is not None]
    kept = [t for t in finished if not any(_beats(other, t, sought) for other in finished)]
    return sorted(kept, key=lambda t: (_loss(t, sought)[0], t.number))


def _loss(trial: Trial, sought: Sequence[Objective]) -> tuple[float, ...]:
    """The values, turned so that less is better."""
    assert trial.values is not None
    return tuple(-v if o.direction == "maximize" else v for v, o in zip(trial.values, sought, strict=True))


def _beats(one: Trial, other: Trial, sought: Sequence[Objective]) -> bool:
    ours, theirs = _loss(one, sought), _loss(other, sought)
    if ours == theirs:
        return one.number < other.number
    return all(a <= b for a, b in zip(ours, theirs, strict=True))


def stale(trials: Sequence[Trial], sought: Sequence[Objective]) -> int:
    """How many trials have ended since the best one did."""
    ended = sorted((t for t in trials if t.state != "running"), key=lambda t: (t.ended, t.number))
    best = front(ended, sought)
    return len(ended) - 1 - ended.index(best[0]) if best else 0
