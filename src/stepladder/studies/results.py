"""The result of a comparison, as `compare` returns it, comparison.json stores it and reports read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from stepladder.evaluation.statistics.closed_form import benjamini_hochberg, holm
from stepladder.evaluation.statistics.estimates import Difference, Measured
from stepladder.evaluation.statistics.luck import Luck
from stepladder.evaluation.tables import Drawing
from stepladder.io.serialise import optional
from stepladder.runs.results import RunResult

Differences: TypeAlias = Mapping[str, Difference]
"""A paired difference for each metric."""

Status: TypeAlias = Literal["recommended", "too_few_rows", "no_method_works", "target_not_reached"]


@dataclass(frozen=True)
class Rules:
    """How differences are tested: McNemar's test with or without mid-p, and how p-values are adjusted."""

    mid_p: bool = False
    correction: Literal["holm", "benjamini_hochberg"] = "holm"

    def adjusted(self, p_values: Sequence[float]) -> list[float]:
        return holm(p_values) if self.correction == "holm" else benjamini_hochberg(p_values)


@dataclass(frozen=True)
class DifferenceTo:
    """The paired differences of a method to the method `name`."""

    name: str
    difference: Differences


@dataclass(frozen=True)
class Cell:
    """One method of a comparison, over all of its seeds.

    Attributes:
        scores: The main suite's metrics, means over the seeds.
        at_least: The one-sided 95% lower bound of each score.
        units: The number of independent questions or groups.
        difference: To the baseline. Each difference is None on the method itself that it refers to.
        to_below: To the next simpler method.
        to_best: To the best method, in the main metric.
        to_floor: To the most frequent answer, in the main metric.
        seeded: Whether another seed may give other answers.
        to_recommended: To the recommended method; None where none is recommended.
    """

    name: str
    scores: Mapping[str, Measured]
    at_least: Mapping[str, float]
    units: int
    difference: Differences | None = optional()
    to_below: DifferenceTo | None = optional()
    to_best: DifferenceTo | None = optional()
    to_floor: DifferenceTo | None = optional()
    seeds: tuple[int, ...] = ()
    seeded: bool = False
    to_recommended: DifferenceTo | None = optional()


@dataclass(frozen=True)
class Verdict:
    """The simplest method that the evidence supports, and why.

    Attributes:
        recommended: None where the evidence supports no method, with the reason in `status`.
        rows_needed: How many test rows would help; None where no number would, or none is needed.
        best: The method with the highest score.
        undecided: Simpler methods that may be good enough, for which there are too few questions.
        rests_on: The evidence, a sentence each.
        would_change: Margins, targets and numbers of questions that would change the verdict, a sentence each.
        tuned: Whether the best tuned method is better than others, a sentence each.
    """

    recommended: str | None
    status: Status
    reason: str
    rows_needed: int | None
    metric: str
    best: str
    margin: float
    target: float | None
    questions: int
    undecided: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()
    would_change: tuple[str, ...] = ()
    tuned: tuple[str, ...] = ()


@dataclass(frozen=True)
class TunedDifference:
    """A tuned method against another one. `roles` says what the other is: best prompted, recommended."""

    name: str
    against: str
    roles: tuple[str, ...]
    difference: Differences


@dataclass(frozen=True)
class Bill:
    """What a method costs: its setup and its mean request, in the unit of the `Bills`."""

    setup: float
    request: float
    setup_seconds: float
    labels: float


@dataclass(frozen=True)
class Bills:
    """The bill of each method; `unit` is a currency, or s for seconds of the machine."""

    unit: str
    methods: Mapping[str, Bill] = field(metadata={"json": "rungs"})


@dataclass(frozen=True)
class BreakEven:
    """The number of requests after which the more expensive setup of `name` has paid off, compared to `against`.

    Attributes:
        setup: By how much its setup is more expensive.
        saved: What one request saves, with its 95% interval over the questions, groups drawn whole.
        requests: The break-even, with the interval that follows; None is never.
        until: Where the method is cheaper to set up and more expensive per request, the number of requests up to which
            it is cheaper.
        tokens_saved: Prompt tokens that one request saves.
        measured: Whether the costs of questions differ at all; where they do not, there is no interval.
    """

    name: str
    against: str
    setup: float
    saved: float
    saved_low: float | None
    saved_high: float | None
    requests: int | None
    low: int | None
    high: int | None
    until: int | None
    tokens_saved: float
    measured: bool = True


@dataclass(frozen=True)
class TuningBudget:
    """How many trials and seconds a search may take; None is no limit."""

    trials: int | None
    seconds: float | None


@dataclass(frozen=True)
class CellTuning:
    """How a cell was tuned before the comparison.

    Attributes:
        study: The sweep; None where there was nothing to tune.
        value: The winner's objective on the validation rows.
        overrides: The winner's.
        default: The objective without tuning.
        luck: What selection alone adds to `value`; None where questions have no scores of their own.
    """

    study: str | None = None
    trials: int = 0
    seconds: float = 0.0
    training_tokens: int = 0
    value: float | None = None
    overrides: tuple[str, ...] = ()
    budget: TuningBudget | None = None
    objective: str | None = None
    default: float | None = None
    luck: Luck | None = optional()


@dataclass(frozen=True)
class Overtaking:
    """From how many training rows on a tuned method is at least as good as the best prompt: for each draw of training
    rows (None: it never is), mean and standard deviation over the draws in which it is, and the number of the others.
    """

    by_draw: Mapping[str, int | None]
    mean: float | None
    spread: float | None
    never: int


@dataclass(frozen=True)
class CurveResult:
    """A learning curve: the numbers of training rows, the draws, and where each tuned method overtakes the prompts."""

    rows: tuple[int, ...]
    draws: tuple[int, ...]
    overtakes: Mapping[str, Overtaking]


@dataclass(frozen=True)
class CheckItem:
    """One point of the checklist; `found` is yes, no, in part or not measured."""

    point: str
    found: str
    evidence: str


@dataclass(frozen=True, kw_only=True)
class ComparedRun(RunResult):
    """One run of a comparison; `difference` is that to the baseline's run of the same seed, None on the baseline."""

    name: str
    overrides: tuple[str, ...]
    seed: int
    difference: Differences | None = optional()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison.

    Attributes:
        title: What was compared: dataset, models and date.
        report: The path of report.html.
        command: The command line; None where it was started from Python.
        cells: The methods, simplest first.
        tuned_differences: Tuned methods against prompted ones and the recommended one, in the main metric.
        break_even: Of tuned methods, against the prompted ones that are not significantly better.
        no_break_even: Pairs left out of `break_even`, since the tuned method is significantly worse.
        tuning: How each cell was tuned, where they were.
        curve: Drawings of the learning curve, where one number of training rows varies.
    """

    study: str
    title: str
    report: str
    baseline: str
    command: str | None = None
    rows: tuple[ComparedRun, ...]
    cells: tuple[Cell, ...]
    verdict: Verdict
    rules: Rules = field(default_factory=Rules)
    tuned_differences: tuple[TunedDifference, ...] = ()
    bills: Bills
    break_even: tuple[BreakEven, ...] = ()
    no_break_even: tuple[tuple[str, str], ...] = ()
    tuning: Mapping[str, CellTuning] | None = optional()
    learning_curve: CurveResult | None = optional()
    curve: tuple[Drawing, ...] | None = optional()
    checklist: tuple[CheckItem, ...] = ()

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    def runs_of(self, name: str) -> list[ComparedRun]:
        """The runs of a method, one for each seed."""
        return [row for row in self.rows if row.name == name]
