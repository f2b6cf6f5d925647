"""The result of a sweep, as `sweep` returns it, sweep.json stores it and reports read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from stepladder.config.space import Scalar
from stepladder.evaluation.statistics.estimates import Difference, Measured
from stepladder.evaluation.statistics.luck import Luck
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
class PlainOnTest:
    """The plain prompt (the default configuration) on the test rows, next to the winner.

    Attributes:
        difference: The winner minus the plain prompt, question by question.
        beaten: Whether the winner is significantly better on the test rows: what a claim may rest on.
    """

    metric: str
    winner: Measured
    plain: Measured
    difference: Difference
    beaten: bool

    def __str__(self) -> str:
        gap = self.difference
        word = "beats" if self.beaten else "is significantly worse than" if gap.worse else "does not beat"
        return (
            f"On {gap.n:,} test rows the searched prompt {word} the plain prompt: {self.metric} "
            f"{self.winner.value:.3f} and {self.plain.value:.3f}, difference {gap.value:+.3f} "
            f"[{gap.low:+.3f}, {gap.high:+.3f}], p = {gap.p:.2g}."
        )


@dataclass(frozen=True)
class Proposed:
    """What a proposer proposed, and what that cost: `seconds` count in the budget of the sweep."""

    instructions: tuple[str, ...]
    prompt_tokens: int
    new_tokens: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"The proposer wrote {len(self.instructions)} new instructions with {self.prompt_tokens:,} prompt tokens "
            f"and {self.new_tokens:,} new tokens in {self.seconds:,.1f} s."
        )


@dataclass(frozen=True)
class Trial:
    """One trial.

    Attributes:
        values: Of the objectives; None for a trial that is not complete.
        seconds: What the trial cost, whenever it was computed.
        losses: The loss of each validation, in nats per answer token.
        question_scores: The objective on each validation row, in the order of their sorted ids, where rows have one.
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
    question_scores: tuple[float, ...] = field(default=(), metadata={"json": None})
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
        luck: What selection alone adds to the best validation score; None where questions have no scores of their own.
        plain: The plain prompt on the test rows, where the instruction was searched.
        proposed: The instructions of the proposer, where there is one.
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
    luck: Luck | None = optional()
    plain: PlainOnTest | None = optional()
    proposed: Proposed | None = optional()

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
