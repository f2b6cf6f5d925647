"""What differs between two runs, as `reproduce` and `diff` return it and print it as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from stepladder.evaluation.statistics.estimates import Measured
from stepladder.runs.results import RunFolders
from stepladder.studies.reproduce.tolerance import Tolerance

State: TypeAlias = Literal["same", "within", "differs", "not recorded"]
Kind: TypeAlias = Literal["made from", "circumstance", "result"]


@dataclass(frozen=True)
class Aspect:
    """One thing that was compared.

    Attributes:
        reaches: Of what a run is made from, the first stage in which a difference shows, None where in none; of a
            result, the stage that it comes from.
        explained_by: Of a result, the aspects that can have caused its difference.
    """

    name: str = field(metadata={"json": "aspect"})
    kind: Kind
    state: State
    differences: tuple[str, ...] = ()
    reaches: str | None = None
    explained_by: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """For people."""
        text = f"{self.name:<13} {self.state}"
        text += f": {'; '.join(self.differences)}" if self.differences else ""
        if self.kind == "result" and self.explained_by:
            text += f" <- can be explained by {', '.join(self.explained_by)}"
        elif self.kind == "made from" and self.state == "differs" and self.reaches is None:
            text += " (it reaches no result of this run)"
        elif self.kind == "circumstance" and self.state == "differs":
            text += " (a possible cause)"
        return text


@dataclass(frozen=True)
class MetricPair:
    """A metric of the first run (`was`) and of the second; `within`: whether they are as near as they must be."""

    suite: str
    metric: str
    was: Measured
    now: Measured | None = field(metadata={"json": "is"})
    tolerance: str
    within: bool


@dataclass(frozen=True, kw_only=True)
class RunDifferences:
    """Every aspect of two runs; `lines` has them in words."""

    same: bool
    tolerance: Tolerance
    aspects: tuple[Aspect, ...]
    metrics: tuple[MetricPair, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DiffResult(RunDifferences):
    """The object that `diff --json` prints; `folders` are those of the two runs."""

    folders: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class ReproductionResult(RunDifferences):
    """The object that `reproduce --json` prints: the run that was repeated, the fresh store, the new run's folders."""

    folder: str
    reproduction: str
    folders: RunFolders
