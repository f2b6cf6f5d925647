"""The shapes of nodes that have no `_target_` of their own: the top of a configuration.

Knows which constructor stands behind which top-level node; knows nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stepladder.errors import ConfigError, Fault

UNTARGETED = {
    "decoding": "stepladder.records.Decoding",
    "compute": "stepladder.config.schema.Compute",
    "comparison": "stepladder.config.schema.Comparison",
}
"""Nodes that are bound to a class though they name no `_target_`."""


@dataclass(frozen=True)
class Compute:
    """Where a run works. Never in an id."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    micro_batch: int | None = None

    def __post_init__(self) -> None:
        for name in ("devices", "nodes", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(Fault(name, f"{value} is less than one", "give a whole number from 1"))


@dataclass(frozen=True)
class Comparison:
    """What `compare` varies: values by key, the first key slowest; and how it judges."""

    name: str
    vary: Mapping[str, Sequence[Any]]
    baseline: str | None = None
    target: float | None = None
    margin: float = 0.02
