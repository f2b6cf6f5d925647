"""Draws the points of a grid one after the other. Knows Optuna's protocol of samplers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from stepladder.studies.sweep.grid import Grid

WANTED = {"sweep.sampler": BaseSampler | Grid, "sweep.pruner": BasePruner}
"""What the nodes must be."""


class GridSampler(BaseSampler):  # type: ignore[misc]
    """Trial n is point n: its number written with a digit a parameter, each in the base of its size.

    Numbers are given once, so points are. `sizes` has every parameter of the space, the first running fastest.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        rest = trial.number
        for name, size in self.sizes.items():
            if name == param_name:
                break
            rest //= size
        place = rest % self.sizes[param_name]
        if isinstance(param_distribution, CategoricalDistribution):
            return param_distribution.choices[place]
        found: Any = param_distribution
        return found.low + place * found.step
