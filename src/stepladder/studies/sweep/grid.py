"""The grid as a node of the configuration. Knows that a space has sizes; importing it loads no Optuna."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Every point of the space once, in the order of the parameters, the first running fastest."""
