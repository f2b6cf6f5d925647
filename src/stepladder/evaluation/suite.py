"""Evaluation suites: which requests a suite makes of a fitted method, and how it scores the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Metric, NotDefinedError, ShortlistRecall, is_mean, label_pair
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.statistics.estimates import Measured, Side, measured
from stepladder.evaluation.tables import Drawing
from stepladder.io.serialise import optional
from stepladder.types import Choice

TaskKind = Literal["choice", "text", "json"]
REASONS_SHOWN = 20
SHORTLIST = "shortlist_recall"
"""The further metric of answers that were chosen from a shortlist of labels: their ceiling."""


Details: TypeAlias = dict[str, Any]
"""Further results of a suite, as JSON; each suite has its own fields."""


@dataclass(frozen=True)
class Statistics:
    """The `width` numbers that a metric makes of one question (`Metric.statistics`); zeros are left out."""

    width: int
    numbers: Mapping[str, float]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Statistics:
        return cls(len(numbers), {str(place): number for place, number in enumerate(numbers) if number})

    def whole(self) -> list[float]:
        return [self.numbers.get(str(place), 0.0) for place in range(self.width)]


@dataclass(frozen=True)
class QuestionScore:
    """One question's score.

    Attributes:
        id: The question's.
        metric: The metric's name.
        value: The metric of this question alone; None where the metric has none.
        statistics: The question's statistics, of a metric that is not the mean of the values.
    """

    id: str
    metric: str
    value: float | None
    statistics: Statistics | None = optional()


def question_scores(metric: str, ids: Sequence[str], values: Iterable[float]) -> list[QuestionScore]:
    """The score of each question, where the metric is a value of its own for every one."""
    return [QuestionScore(id_, metric, float(value)) for id_, value in zip(ids, values, strict=True)]


@dataclass(frozen=True)
class SuiteScores:
    """The scores of one suite.

    Attributes:
        metrics: One measured value for each metric.
        per_question: One score for each question and metric.
        details: More, for programs. `left_out` maps what was not measured to the reason.
        tables: Tables and curves for reports.
    """

    metrics: Mapping[str, Measured]
    per_question: tuple[QuestionScore, ...] = ()
    details: Details = field(default_factory=dict)
    tables: tuple[Drawing, ...] = ()


@runtime_checkable
class Suite(Protocol):
    """An evaluation suite: its requests, and the scores of their answers."""

    @property
    def kind(self) -> TaskKind | None:
        """The kind of task that it supports; None supports all."""
        ...

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        """The requests that the suite needs, each with its own name; `inputs.plain` is the main request.

        Equal requests of several suites are answered once.

        Raises:
            ConfigError: The suite does not support this data or decoding.
        """
        ...

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        """Scores the answers, which are given by the name of the request. `seed` decides every random draw."""
        ...


@dataclass(frozen=True)
class MetricSuite:
    """Metrics of the main request. Comparisons and sweeps use the metric `main`; None is the first."""

    version: ClassVar[int] = 1

    metrics: Mapping[str, Metric]
    kind: TaskKind | None = None
    main: str | None = None

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError(Fault("metrics", "the suite has no metrics", "name at least one metric"))
        if self.kind not in (None, "choice", "text", "json"):
            raise ConfigError(Fault("kind", f"'{self.kind}' is not a kind of task", "set choice, text, json or null"))
        if self.main is None:
            object.__setattr__(self, "main", next(iter(self.metrics)))
        elif self.main not in self.metrics:
            raise ConfigError(
                Fault("main", f"there is no metric '{self.main}'", did_you_mean(self.main, [*self.metrics]))
            )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        return (inputs.plain,)

    def figures(self, main: Answers) -> dict[str, float]:
        """The values, without intervals, of the metrics that are defined for the task, the main one first."""
        found = {}
        for name in sorted(self.metrics, key=lambda name: name != self.main):
            try:
                found[name] = Side(self.metrics[name], main).value
            except NotDefinedError:
                continue
        return found

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        main = answers["main"]
        if self.kind not in (None, main.request.task.kind):
            raise ConfigError(
                Fault("evaluation", f"this suite is for {self.kind} tasks, the data is a {main.request.task.kind} task")
            )
        measures: dict[str, Measured] = {}
        rows: list[QuestionScore] = []
        left_out: dict[str, str] = {}
        judged: dict[str, tuple[Metric, Answers]] = {name: (metric, main) for name, metric in self.metrics.items()}
        if any(prediction.candidates for prediction in main.predictions):
            kept = tuple(replace(prediction, failure=None) for prediction in main.predictions)
            judged[SHORTLIST] = ShortlistRecall(), replace(main, predictions=kept)
        for name, (metric, answers_of_it) in judged.items():
            try:
                side = Side(metric, answers_of_it)
            except NotDefinedError as reason:
                left_out[name] = str(reason)
                continue
            measures[name] = measured(side, seed)
            rows.extend(_rows(name, side, main))
        details = {"failures": _failures(main), "left_out": left_out, **_labels(main)}
        return SuiteScores(measures, tuple(rows), details)


def _rows(name: str, side: Side, answers: Answers) -> Iterator[QuestionScore]:
    values, order = side.by_question, {id_: place for place, id_ in enumerate(side.ids)}
    for id_ in answers.ids:
        place = order[id_]
        statistics = None if is_mean(side.metric) else Statistics.of(side.numbers[0][place].tolist())
        yield QuestionScore(id_, name, None if values is None else float(values[place]), statistics)


def _failures(answers: Answers) -> Details:
    reasons = Counter(prediction.failure for prediction in answers.predictions if prediction.failure)
    return {"count": reasons.total(), "reasons": dict(reasons.most_common(REASONS_SHOWN))}


def _labels(answers: Answers) -> Details:
    """Precision, recall and F1 of every label that occurs; None where nothing was predicted, or nothing expected."""
    if not isinstance(answers.request.task.answer, Choice):
        return {}
    pairs = [label_pair(*both) for both in zip(answers.predictions, answers.examples, strict=True)]
    expected, predicted = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    right = Counter(one for one, two in pairs if one == two)
    known = answers.request.task.answer.labels
    names = [*known, *sorted({label for pair in pairs for label in pair if label is not None} - set(known))]
    return {
        "labels": {
            name: {
                "precision": right[name] / predicted[name] if predicted[name] else None,
                "recall": right[name] / expected[name] if expected[name] else None,
                "f1": 2 * right[name] / (predicted[name] + expected[name]),
                "support": expected[name],
                "predicted": predicted[name],
            }
            for name in names
            if predicted[name] + expected[name]
        }
    }
