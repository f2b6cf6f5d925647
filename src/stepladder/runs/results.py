"""The results of a run, as other packages and JSON get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.dataset.accounts import RowCounts
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import Details
from stepladder.evaluation.tables import Drawing
from stepladder.runs.costs import Costs
from stepladder.types import CheckResult

SuiteFigures = Mapping[str, Mapping[str, Measured]]
"""The measured values of an experiment, by suite and metric."""


@dataclass(frozen=True)
class StageKeys:
    """The content keys of a run's stages; `predict` is that of the main request."""

    fit: str
    predict: str
    score: str


@dataclass(frozen=True)
class RunFolders:
    """The directories of a run. `probes` has those of the predictions, by request; `predict` is that of `main`."""

    fit: str
    predict: str
    score: str
    probes: Mapping[str, str]


@dataclass(frozen=True)
class StagesReused:
    """Which stages were taken from the store."""

    fit: bool
    predict: bool
    score: bool


@dataclass(frozen=True)
class RunResult:
    """The object that `run --json` prints."""

    keys: StageKeys
    folders: RunFolders
    reused: StagesReused
    scores: SuiteFigures
    costs: Costs
    rows: RowCounts
    preflight: tuple[CheckResult, ...] = field(default=(), metadata={"json": "gate"})


@dataclass(frozen=True)
class Scores:
    """The file scores.json, by suite."""

    scores: SuiteFigures
    details: Mapping[str, Details]
    tables: Mapping[str, tuple[Drawing, ...]] = field(metadata={"json": "exhibits"})
    rows: RowCounts
