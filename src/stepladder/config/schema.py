"""The classes of configuration nodes that name no `_target_`: devices, comparison and sweep."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from stepladder.config.interpolation import is_variable
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain

UNTARGETED = {
    "decoding": "stepladder.types.Decoding",
    "compute": "stepladder.config.Compute",
    "preflight": "stepladder.types.PreflightLimits",
    "comparison": "stepladder.config.Comparison",
    "sweep": "stepladder.config.Sweep",
}
"""Nodes that name no `_target_`, with the class that they are bound to."""

# Named, not imported: objects of these classes, or of subclasses.
Tracking = Annotated[Any, "stepladder.runs.Tracking"]
Sampler = Annotated[Any, "optuna.samplers.BaseSampler", "stepladder.studies.Grid"]
Pruner = Annotated[Any, "optuna.pruners.BasePruner"]
Proposer = Annotated[Any, "stepladder.models.Checkpoint", "stepladder.models.ModelService"]
Prices = Annotated[Any, "stepladder.studies.Prices"]


def _faults_of_name(name: str) -> list[Fault]:
    """The fault of a study's name that can not be the name of a folder."""
    fits = re.fullmatch(r"\w[\w.-]{0,79}", name) and len(name.encode()) <= 160
    return [] if fits else [Fault("name", f"'{name}' names no folder", "use letters, digits, - and _")]


@dataclass(frozen=True)
class Compute:
    """The devices that a run uses. Never part of a key.

    Attributes:
        accelerator: The kind of device; `auto` takes a GPU where there is one.
        devices: Devices per node.
        nodes: Machines.
        micro_batch: Rows per forward pass; None: as many as fit the memory.
        strategy: How several devices train one model: each holds all of it (`ddp`) or a shard of it (`fsdp`).
        slurm: Parameters of a Slurm job, by their names in submitit; None starts processes on this machine.
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    nodes: int = 1
    micro_batch: int | None = None
    strategy: Literal["ddp", "fsdp"] | None = None
    slurm: Plain | None = None

    def __post_init__(self) -> None:
        faults = []
        for name in ("devices", "nodes", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                faults.append(Fault(name, f"{value} is less than one", "give a whole number from 1"))
        if self.strategy is None and self.devices * self.nodes > 1:
            what = "several devices need a strategy to train one model together"
            faults.append(Fault("strategy", what, "say compute=ddp or compute=fsdp, or devices=1 and nodes=1"))
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Comparison:
    """What `compare` varies, and how it reaches a verdict.

    Attributes:
        name: The study's name, and its folder's.
        vary: Values by key. The first key varies slowest.
        cells: By name, values by key: cells that differ in several keys, such as method and model. Each is combined
            with every value of `vary`.
        leave_out: A node, such as `workflow`, whose entries are left out one at a time: further cells.
        tune: For each method a search space, in the grammar of `sweep`. It is searched on the validation rows before
            the method is compared.
        baseline: The row that the others are compared with.
        target: A score of the main metric that is good enough; None: a score within `margin` of the best.
        margin: The difference to the best score that is still good enough.
        mid_p: Whether McNemar's test takes the mid-p value.
        correction: The correction for multiple comparisons.
        prices: What time and tokens cost (`stepladder.studies.Prices`).
        requests: The number of requests that you expect in production; None: unknown.
        curve: The varied key with the number of training rows, for a learning curve.
    """

    name: str
    vary: Mapping[str, Sequence[Any]]
    cells: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    leave_out: str | None = None
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
        faults = _faults_of_name(self.name)
        for key, least, most in (("target", 0, 1), ("margin", 0, 1), ("requests", 0, float("inf"))):
            value = getattr(self, key)
            if value is not None and not least <= value <= most:
                faults.append(Fault(key, f"{value} is not from {least} to {most:g}", "give a number from there"))
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Instructions:
    """The candidates of `prompt.instruction` in a sweep, besides the task's own instruction. Never part of a key.

    Attributes:
        file: A text file with one instruction per line, or a json list of texts.
        templates: Wordings of the task's instruction, each with {instruction} in it.
        proposals: How many instructions the proposer of the sweep proposes.
    """

    file: str | None = None
    templates: Sequence[str] = ()
    proposals: int = 8

    def __post_init__(self) -> None:
        faults = [
            Fault("templates", f"'{text}' must contain {{instruction}}", "write {instruction} for the task's own")
            for text in self.templates
            if "{instruction}" not in text
        ]
        if self.proposals < 1:
            faults.append(Fault("proposals", f"{self.proposals} is less than 1", "give a number from 1"))
        if faults:
            raise ConfigError(faults)


@dataclass(frozen=True)
class Sweep:
    """What `sweep` searches, and for how long. Never part of a key.

    Attributes:
        sampler: A sampler of Optuna, or a grid.
        pruner: A pruner of Optuna.
        name: The study's name; None: a hash of what defines the study.
        space: Search spaces by key, in Hydra's grammar of sweeps.
        instructions: Candidates of `prompt.instruction`, which are searched beside the space.
        proposer: A model that proposes further candidates from the task and training rows.
        conditions: A function of the values drawn, by key, that returns more of the space.
        objective: A metric or a cost, or several; None: the main metric.
        trials: The budget of trials.
        seconds: The budget of seconds.
        patience: Trials without a better one after which the study stops.
        max_failures: Failed trials after which the study stops; None: a third of the trials, at least 2.
        workers: Processes on this machine.
        storage: The URL of a PostgreSQL database; None: a journal in the study's folder.
    """

    sampler: Sampler
    pruner: Pruner
    name: str | None = None
    space: Plain = field(default_factory=dict)
    instructions: Instructions | None = None
    proposer: Proposer = None
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
        faults += [] if self.name is None else _faults_of_name(self.name)
        known = self.storage is None or is_variable(self.storage)
        if self.storage is not None and not known and not self.storage.startswith(("postgresql://", "postgres://")):
            kind = self.storage.partition(":")[0]
            faults.append(Fault("storage", f"'{kind}' is no storage", "say null or postgresql://USER@HOST/DATABASE"))
        if faults:
            raise ConfigError(faults)

    @property
    def tolerated(self) -> int:
        """The number of trials that may fail."""
        return max(2, self.trials // 3) if self.max_failures is None else self.max_failures
