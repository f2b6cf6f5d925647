"""How near the results of a reproduction must be to those of the first run.

On the same machine they must be equal. Another machine adds floating-point numbers in another order, so that a near tie
may be decided differently; and where weights were tuned, such differences grow from step to step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stepladder.evaluation.statistics.estimates import Measured

SHARE = 0.02
"""On another machine, the share of rows whose answer may differ, and the share of a metric's scale that it may move."""


@dataclass(frozen=True)
class Tolerance:
    """How near results must be.

    Attributes:
        name: `exact`: equal. `close`: within SHARE, or one row, whichever is more. `statistical`: within the 95%
            interval of the first run, or close; predictions of single rows may differ.
        message: The same in words.
    """

    name: Literal["exact", "close", "statistical"]
    message: str = field(metadata={"json": "told"})

    def metric(self, was: Measured, now: Measured | None) -> bool:
        """Whether a metric of the second run is as near to that of the first as it must be."""
        if now is None or self.name == "exact":
            return was == now
        if was.n != now.n:
            return False
        if abs(now.value - was.value) <= max(SHARE * max(1.0, abs(was.value)), 1.0 / was.n if was.n else 0.0):
            return True
        return self.name == "statistical" and was.low <= now.value <= was.high

    def rows(self, differing: int, count: int) -> bool:
        """Whether so many rows of `count` may have another answer."""
        if self.name == "exact":
            return differing == 0
        return self.name == "statistical" or differing <= max(1, SHARE * count)


def tolerance(same_machine: bool, tuned: bool) -> Tolerance:
    if same_machine:
        return Tolerance("exact", "the same machine: equal")
    if tuned:
        words = f"another machine, tuned weights: within {SHARE:g} or the first run's 95% interval"
        return Tolerance("statistical", words)
    return Tolerance("close", f"another machine: within {SHARE:g} of the scale or one row")
