"""The result of a sweep, as `sweep` returns it, sweep.json stores it and reports read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.config.space import Scalar
from stepladder.io.serialise import optional
from stepladder.runs.results import RunFolders, SuiteFigures


@dataclass(frozen=True)
class BestTrial:
    """A winner on the validation rows; `value` has one number for each objective where there are several."""

    trial: int
    overrides: tuple[str, ...]
    value: float | tuple[float, ...]


@dataclass(frozen=True)
class TrialCounts:
    """How many trials ended in which state."""

    complete: int
    pruned: int
    failed: int
    running: int | None = optional()

    def __str__(self) -> str:
        return f"{self.complete} complete, {self.pruned} pruned, {self.failed} failed"


@dataclass(frozen=True)
class WinnerOnTest:
    """The winner's run on the test rows."""

    scores: SuiteFigures
    folders: RunFolders


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        values: Of the objectives; None for a trial that is not complete.
        seconds: What the trial cost, whenever it was computed.
        losses: The loss of each validation, in nats per answer token.
        curve: The objective by the number of the validation, counted from one, where the fit computed it.
    """

    number: int
    state: str
    overrides: tuple[str, ...]
    parameters: Mapping[str, Scalar] = field(default_factory=dict, metadata={"json": None})
    values: tuple[float, ...] | None = None
    seconds: float = 0.0
    tokens: int = field(default=0, metadata={"json": "training_tokens"})
    losses: tuple[float, ...] = field(default=(), metadata={"json": "validation_losses"})
    reason: str | None = optional()
    curve: Mapping[int, float] = field(default_factory=dict, metadata={"json": None})
    worker: str | None = field(default=None, metadata={"json": None})
    began: float = field(default=0.0, metadata={"json": None})
    ended: float = field(default=0.0, metadata={"json": None})


@dataclass(frozen=True)
class SweepResult:
    """The object that `sweep --json` prints.

    Attributes:
        best: The winner; with several objectives the front.
        default: The objectives without anything varied; None where that could not be run.
        beats_default: Whether the winner does; None with several objectives or no default.
        importances: For each objective, the share of its variance that each parameter explains.
        test: The winner on the test rows; None with several objectives.
        experiment: The path of the winner as an experiment file.
    """

    study: str
    best: BestTrial | tuple[BestTrial, ...]
    trials: TrialCounts
    folder: str
    objective: tuple[str, ...]
    ended_by: str
    default: float | tuple[float, ...] | None
    beats_default: bool | None
    importances: tuple[Mapping[str, float], ...]
    training_tokens: int
    test: WinnerOnTest | None
    experiment: str
    report: str

    @property
    def winners(self) -> tuple[BestTrial, ...]:
        return (self.best,) if isinstance(self.best, BestTrial) else self.best

    @property
    def why_it_stopped(self) -> str:
        """The reason in `ended_by`, after 'The study stopped'."""
        ended = self.trials.complete + self.trials.pruned + self.trials.failed
        return _STOPPED.get(self.ended_by, f"({self.ended_by})").format(n=ended)


@dataclass(frozen=True)
class StoredSweep(SweepResult):
    """The file sweep.json."""

    all_trials: tuple[Trial, ...] = ()


@dataclass(frozen=True)
class RunningTrial:
    trial: int
    overrides: tuple[str, ...]
    worker: str | None


@dataclass(frozen=True)
class SweepStatus:
    """The object that `sweep --status` prints."""

    study: str
    best: BestTrial | tuple[BestTrial, ...] | None
    trials: TrialCounts
    folder: str
    running: tuple[RunningTrial, ...]
    ended_by: str | None
    seconds_left: float | None


_STOPPED = {
    "trials": "after its budget of {n} trials",
    "space": "after every point of the space was tried, {n} in total",
    "seconds": "after its budget of seconds",
    "patience": "because the last trials were not better (sweep.patience)",
    "failures": "because too many trials failed",
}
