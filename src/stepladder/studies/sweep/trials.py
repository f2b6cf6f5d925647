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
    """One trial.

    Attributes:
        values: Of the objectives; None for a trial that is not complete.
        curve: The objective at each validation, where the fit computed it.
        losses: The validation loss at each validation, in nats per answer token.
        seconds: What the trial cost, whenever it was computed.
        tokens: Training tokens, as above.
        reason: Why it failed.
    """

    number: int
    state: str
    overrides: tuple[str, ...]
    parameters: Mapping[str, Scalar]
    values: tuple[float, ...] | None = None
    curve: Mapping[int, float] = field(default_factory=dict)
    losses: Mapping[int, float] = field(default_factory=dict)
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
            | {"validation_losses": list(self.losses.values())}
            | ({"reason": self.reason} if self.reason else {})
        )


STOPPED = {
    "trials": "its budget of {n} trials is used up",
    "space": "every point of the space has been tried, {n} in all",
    "seconds": "its budget of seconds is used up",
    "patience": "the last trials brought no better one (sweep.patience)",
    "failures": "too many trials failed",
}


def why_it_stopped(told: Mapping[str, Any]) -> str:
    """The reason in `ended_by` of the object that `sweep --json` prints, as a clause."""
    ended = sum(told["trials"].values())
    return STOPPED.get(told["ended_by"], str(told["ended_by"])).format(n=ended)


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
