"""A sweep: many trials of one experiment on its validation rows, drawn from a space by Optuna."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Every point of the space once, in the order of the parameters, the first running fastest."""
