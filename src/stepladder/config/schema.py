"""The shapes of nodes that have no `_target_` of their own: the top of a configuration.

Knows which constructor stands behind which top-level node; knows nothing of what they do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from stepladder.config.interpolation import is_variable
from stepladder.errors import ConfigError, Fault

UNTARGETED = {
    "decoding": "stepladder.types.Decoding",
    "compute": "stepladder.config.Compute",
    "preflight": "stepladder.types.PreflightLimits",
    "comparison": "stepladder.config.Comparison",
    "sweep": "stepladder.config.Sweep",
}
"""Nodes that are bound to a class though they name no `_target_`."""

# What is not to be imported to be asked for is named: any of these classes, or one made from them.
Tracking = Annotated[Any, "stepladder.runs.Tracking"]
Sampler = Annotated[Any, "optuna.samplers.BaseSampler", "stepladder.studies.Grid"]
Pruner = Annotated[Any, "optuna.pruners.BasePruner"]
Prices = Annotated[Any, "stepladder.studies.Prices"]


def names_folder(name: str) -> bool:
    """Whether a study's name can be that of its folder, and of nothing else."""
    return re.fullmatch(r"\w[\w.-]{0,79}", name) is not None and len(name.encode()) <= 160


def _no_folder(name: str) -> Fault:
    return Fault("name", f"'{name}' names no folder", "use letters, digits, - and _")


@dataclass(frozen=True)
class Compute:
    """Where a run works. Never in an id.

    strategy: how several devices train one model: each with all of it (ddp), or each with a piece (fsdp).
    slurm: what a job of Slurm is asked for with, in submitit's own words; null starts processes here.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    micro_batch: int | None = None
    strategy: Literal["ddp", "fsdp"] | None = None
    slurm: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        faults = []
        for name in ("devices", "nodes", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                faults.append(Fault(name, f"{value} is less than one", "give a whole number from 1"))
        if self.strategy is None and self.devices * self.nodes > 1:
            what = "nothing says how several devices train one model together"
            faults.append(Fault("strategy", what, "say compute=ddp or compute=fsdp, or devices=1 and nodes=1"))
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Comparison:
    """What `compare` varies: values by key, the first key slowest; and how it judges.

    curve: a varied number of training rows along which scores are drawn; variants that come to the same run are one.
    tune: for each method a space, in the grammar of `sweep`, that is searched on validation rows before it is compared.
    target: a score of the main metric that is good enough; null asks instead for one within `margin` of the best.
    mid_p, correction: of the tests. prices: what things cost (`stepladder.studies.Prices`). requests: how
    many questions you expect to ask in all, null where you can not say.
    """

    name: str
    vary: Mapping[str, Sequence[Any]]
    tune: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    baseline: str | None = None
    target: float | None = None
    margin: float = 0.02
    mid_p: bool = False
    correction: Literal["holm", "benjamini_hochberg"] = "holm"
    prices: Prices = None
    requests: float | None = None
    curve: str | None = None

    def __post_init__(self) -> None:
        faults = [] if names_folder(self.name) else [_no_folder(self.name)]
        for key, least, most in (("target", 0, 1), ("margin", 0, 1), ("requests", 0, float("inf"))):
            value = getattr(self, key)
            if value is not None and not least <= value <= most:
                faults.append(Fault(key, f"{value} is not from {least} to {most:g}", "give a number from there"))
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Sweep:
    """What `sweep` tries, by key in the grammar of overrides, and for how long. Never in an id.

    sampler, pruner: of Optuna. name: null is a hash of what makes the study. conditions: a function of what was drawn,
    by key, that gives more of the space. objective: a metric or a cost, or several; null is the main metric.
    trials, seconds, patience, max_failures: each ends the study. storage: null is a journal in the study's folder.
    """

    sampler: Sampler
    pruner: Pruner
    name: str | None = None
    space: Mapping[str, Any] = field(default_factory=dict)
    conditions: Callable[..., Any] | None = None
    objective: str | Sequence[str] | None = None
    trials: int = 20
    seconds: float | None = None
    patience: int | None = None
    max_failures: int | None = None
    workers: int = 1
    storage: str | None = None

    def __post_init__(self) -> None:
        faults = []
        for key, least in (("trials", 1), ("seconds", 0), ("patience", 1), ("max_failures", 0), ("workers", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                faults.append(Fault(key, f"{value} is less than {least}", f"give a number from {least}"))
        if self.name is not None and not names_folder(self.name):
            faults.append(_no_folder(self.name))
        known = self.storage is None or is_variable(self.storage)
        if self.storage is not None and not known and not self.storage.startswith(("postgresql://", "postgres://")):
            kind = self.storage.partition(":")[0]
            faults.append(Fault("storage", f"'{kind}' is no storage", "say null or postgresql://USER@HOST/DATABASE"))
        if faults:
            raise ConfigError(faults)

    @property
    def tolerated(self) -> int:
        """How many trials may fail."""
        return max(2, self.trials // 3) if self.max_failures is None else self.max_failures
