"""Suites: what an evaluation asks of a fitted method, and what it makes of the answers.

Knows probes, predictions and metrics; fits and predicts nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.evaluation.answered import Answered
from stepladder.evaluation.asking import Asked, Material
from stepladder.evaluation.exhibits import Exhibit
from stepladder.evaluation.metrics.choice import Metric, NotDefinedError, label_pair
from stepladder.evaluation.statistics.estimates import Measured, Side, measured
from stepladder.types import Choice

TaskKind = Literal["choice", "text", "json"]
REASONS_SHOWN = 20


@dataclass(frozen=True)
class SuiteScores:
    """What a suite found: a figure a metric, one a question and metric (None where a metric has none), details for
    programs and exhibits for people."""

    metrics: Mapping[str, Measured]
    per_question: tuple[Mapping[str, Any], ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    exhibits: tuple[Exhibit, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For scores.json."""
        return {
            "metrics": {name: each.as_dict() for name, each in self.metrics.items()},
            "details": dict(self.details),
            "exhibits": [exhibit.as_dict() for exhibit in self.exhibits],
        }

    def lines(self, suite: str) -> Iterator[dict[str, Any]]:
        """For per_question.jsonl: id, suite, metric, value."""
        for row in self.per_question:
            yield {"id": row["id"], "suite": suite, "metric": row["metric"], "value": row["value"]}


@runtime_checkable
class Suite(Protocol):
    """Asks for probes, then scores what they were answered."""

    @property
    def kind(self) -> TaskKind | None:
        """The kind of task it serves; None serves all."""
        ...

    def probes(self, material: Material) -> tuple[Asked, ...]:
        """All that it needs answered, each under a name of its own; the plain answers are `material.plain`.

        Equal probes of several suites are asked once. Raises ConfigError where it can not serve this data or decoding.
        """
        ...

    def score(self, answered: Mapping[str, Answered], seed: int) -> SuiteScores:
        """Scores from its answered probes by name. `seed` settles every draw."""
        ...


@dataclass(frozen=True)
class MetricSuite:
    """Metrics of the plain answers. `main` is the metric that comparisons and sweeps look at; None is the first."""

    version: ClassVar[int] = 1

    metrics: Mapping[str, Metric]
    kind: TaskKind | None = None
    main: str | None = None

    def __post_init__(self) -> None:
        if not self.metrics:
            raise ConfigError(Fault("metrics", "a suite without metrics measures nothing", "name at least one metric"))
        if self.kind not in (None, "choice", "text", "json"):
            raise ConfigError(Fault("kind", f"'{self.kind}' is no kind of task", "say choice, text, json or null"))
        if self.main is None:
            object.__setattr__(self, "main", next(iter(self.metrics)))
        elif self.main not in self.metrics:
            raise ConfigError(
                Fault("main", f"there is no metric '{self.main}'", did_you_mean(self.main, [*self.metrics]))
            )

    def probes(self, material: Material) -> tuple[Asked, ...]:
        return (material.plain,)

    def figures(self, main: Answered) -> dict[str, float]:
        """The bare values of the metrics that are defined here, the main one first."""
        found = {}
        for name in sorted(self.metrics, key=lambda name: name != self.main):
            try:
                found[name] = Side(self.metrics[name], main).value
            except NotDefinedError:
                continue
        return found

    def score(self, answered: Mapping[str, Answered], seed: int) -> SuiteScores:
        main = answered["main"]
        if self.kind not in (None, main.probe.task.kind):
            raise ConfigError(
                Fault("evaluation", f"this suite is for {self.kind} tasks, the data is a {main.probe.task.kind} task")
            )
        measures: dict[str, Measured] = {}
        rows: list[Mapping[str, Any]] = []
        left_out: dict[str, str] = {}
        for name, metric in self.metrics.items():
            try:
                side = Side(metric, main)
            except NotDefinedError as reason:
                left_out[name] = str(reason)
                continue
            measures[name] = measured(side, seed)
            rows.extend(_rows(name, side, main))
        details = {"failures": _failures(main), "left_out": left_out, **_labels(main)}
        return SuiteScores(measures, tuple(rows), details)


def _rows(name: str, side: Side, answered: Answered) -> Iterator[dict[str, Any]]:
    values = side.by_question
    found = {} if values is None else dict(zip(side.ids, values.tolist(), strict=True))
    for id_ in answered.ids:
        yield {"id": id_, "metric": name, "value": found.get(id_)}


def _failures(answered: Answered) -> dict[str, Any]:
    reasons = Counter(prediction.failure for prediction in answered.predictions if prediction.failure)
    return {"count": reasons.total(), "reasons": dict(reasons.most_common(REASONS_SHOWN))}


def _labels(answered: Answered) -> dict[str, Any]:
    """Precision, recall and F1 of every label that occurs; None where nothing was predicted, or nothing expected."""
    if not isinstance(answered.probe.task.answer, Choice):
        return {}
    pairs = [label_pair(*both) for both in zip(answered.predictions, answered.examples, strict=True)]
    expected, predicted = Counter(pair[0] for pair in pairs), Counter(pair[1] for pair in pairs)
    right = Counter(one for one, two in pairs if one == two)
    known = answered.probe.task.answer.labels
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
