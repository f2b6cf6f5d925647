"""The classes that `sweep.sampler` and `sweep.pruner` may be. Knows Optuna."""

from __future__ import annotations

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler

from stepladder.studies.sweep.grid import Grid

WANTED = {"sweep.sampler": BaseSampler | Grid, "sweep.pruner": BasePruner}
"""What the nodes must be."""
