"""What became of a study's trials, as plain values: counts, the best, the front.

Knows trials by what was recorded of them; knows no storage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.config.space import Scalar
from stepladder.studies.sweep.objectives import Objective

STATES = ("complete", "pruned", "failed", "running")


@dataclass(frozen=True)
class Trial:
    """One trial. `values`: of the objectives, None where it has none; `curve`: what it reported, by validation;
    `seconds` and `tokens`: what its making cost, whenever that was; `reason`: why it failed."""

    number: int
    state: str
    overrides: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    values: tuple[float, ...] | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    tokens: int = 0
    reason: str | None = None
    worker: str | None = None
    began: float = 0.0
    ended: float = 0.0
    reused: bool = False

    def as_dict(self) -> dict[str, Any]:
        told = {"number": self.number, "state": self.state, "overrides": list(self.overrides)}
        return (
            told
            | {"values": self.values, "seconds": self.seconds, "training_tokens": self.tokens}
            | ({"reason": self.reason} if self.reason else {})
        )


def counts(trials: Sequence[Trial]) -> dict[str, int]:
    return {state: sum(t.state == state for t in trials) for state in STATES if state != "running"}


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
