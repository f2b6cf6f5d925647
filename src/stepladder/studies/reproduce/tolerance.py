"""How near the figures of a run made again must come to those of the first.

On the same machine they must be equal. On another one floating-point sums come in another order, so a near tie may fall
to the other side; and where weights were tuned, such differences grow from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

SHARE = 0.02
"""On another machine, the share of rows whose answer may differ, and the share of a metric's scale that it may move."""


@dataclass(frozen=True)
class Tolerance:
    """`exact`: equal. `close`: within SHARE, or one row, whichever is more. `statistical`: within the 95 % interval of
    the first run, or close; answers of rows are not held to anything."""

    name: Literal["exact", "close", "statistical"]

    def metric(self, was: Mapping[str, Any], now: Mapping[str, Any] | None) -> bool:
        """Whether a metric (`value`, `low`, `high`, `n`) is what it should be."""
        if now is None:
            return False
        if self.name == "exact":
            return all(was.get(name) == now.get(name) for name in ("value", "low", "high", "n"))
        before, value, n = was.get("value"), now.get("value"), was.get("n")
        if n != now.get("n"):
            return False
        if before is None or value is None:
            return before is value
        if abs(value - before) <= max(SHARE * max(1.0, abs(before)), 1.0 / n if n else 0.0):
            return True
        low, high = was.get("low"), was.get("high")
        return self.name == "statistical" and low is not None and high is not None and low <= value <= high

    def rows(self, differing: int, count: int) -> bool:
        """Whether so many rows of `count` may have another answer."""
        if self.name == "exact":
            return differing == 0
        return self.name == "statistical" or differing <= max(1, SHARE * count)

    @property
    def told(self) -> str:
        return {
            "exact": "the same machine: equal",
            "close": f"another machine: within {SHARE:g} of the scale or one row",
            "statistical": f"another machine, tuned weights: within {SHARE:g} or the first run's 95 % interval",
        }[self.name]


def tolerance(same_machine: bool, tuned: bool) -> Tolerance:
    if same_machine:
        return Tolerance("exact")
    return Tolerance("statistical" if tuned else "close")
