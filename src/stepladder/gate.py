"""The gate before a training's first step: what is looked at, and from where on it stops the run.

Knows figures and limits; what is looked at and how stands where the rows and the tokens are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from stepladder.errors import ConfigError, Fault


@dataclass(frozen=True)
class Gate:
    """Where a run is stopped; None or False: the figure is told and stops nothing.

    supervised: of the tokens of training rows, more than this share is learnt.
    ended: of the answers, at least this share is learnt with an end token.
    lost: of the training rows, at most this share is rejected, left out for its length, or shown less.
    template: prompts are the same tokens in training and in prediction.
    apart: no row's tokens reach another row's loss.
    touched: what is trained reaches the answers' loss.
    shown: of the held-out rows, at most this share is among the demonstrations or in the retrieval index.
    overlap: of the held-out rows, at most this share is among the training rows.
    """

    supervised: float | None = 0.0
    ended: float | None = 1.0
    lost: float | None = 0.5
    template: bool = True
    apart: bool = True
    touched: bool = True
    shown: float | None = 0.0
    overlap: float | None = None

    def __post_init__(self) -> None:
        shares = {field.name: getattr(self, field.name) for field in fields(self)}
        faults = [
            Fault(name, f"{share} is not a share", "give a number from 0 to 1, or null")
            for name, share in shares.items()
            if not isinstance(share, bool) and share is not None and not 0 <= share <= 1
        ]
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Finding:
    """What was looked at under the gate's key `name`: a share or a truth, `told` in words, whether it is `odd`, whether
    it `stops` the run, and what `to_do` about it."""

    name: str
    value: float | bool
    told: str
    odd: bool = False
    stops: bool = False
    to_do: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, as it lies among a run's facts."""
        return {"name": self.name, "value": self.value, "told": self.told, "odd": self.odd, "stops": self.stops}


def refuse(findings: Iterable[Finding]) -> None:
    """Raises ConfigError with all that stops the run."""
    faults = []
    for found in findings:
        if found.stops:
            off = "false" if isinstance(found.value, bool) else "null"
            way_out = f"or set gate.{found.name}={off} to run anyway"
            faults.append(Fault(f"gate.{found.name}", found.told, f"{found.to_do}, {way_out}"))
    if faults:
        raise ConfigError(faults)
