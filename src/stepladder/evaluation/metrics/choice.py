"""The `Metric` protocol, the metrics of choice tasks, and how to add a metric of your own.

A metric turns one question into a few numbers and folds their sums into its value. So a metric of the whole (macro-F1)
and a mean over questions are resampled the same way: weights (draws, n) times numbers (n, d), folded.

To add a metric without touching this package, name a function with `Mean`, or write a class with the two methods of
`Metric` (and, where wanted, the class attributes `binary` and `whole_only`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stepladder.errors import ConfigError, DataError, Fault, StepladderError, UserError
from stepladder.types import Choice, Example, Prediction, Task

Floats: TypeAlias = NDArray[np.float64]


class NotDefinedError(StepladderError):
    """The metric is not defined for the task; the message is the reason. The suite leaves it out and reports it."""


@runtime_checkable
class Metric(Protocol):
    """A figure between 0 and 1, higher is better.

    Optional class attributes: `binary = True` says that the numbers are (0 or 1, 1), so that the metric is a share of
    right answers and gets exact tests; `whole_only = True` that it has no value for a single question. Both are false
    by default.
    """

    def statistics(self, prediction: Prediction, example: Example, task: Task) -> Sequence[float]:
        """The numbers of one question, as many for every question of a task. They add up over questions."""
        ...

    def fold(self, sums: Floats) -> Floats:
        """Values from summed numbers, shape (..., d) to (...)."""
        ...


class PerQuestion:
    """A metric that is the mean of one number per question. A subclass implements `value`; a failure counts 0."""

    version: ClassVar[int] = 1

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        raise NotImplementedError

    def statistics(self, prediction: Prediction, example: Example, task: Task) -> Sequence[float]:
        return (0.0 if prediction.failure else float(self.value(prediction, example, task)), 1.0)

    def fold(self, sums: Floats) -> Floats:
        mean: Floats = sums[..., 0] / sums[..., 1]
        return mean


def is_mean(metric: Metric) -> bool:
    """Whether the metric is the plain mean of its questions' values, so that those values are all it is made of."""
    kind = type(metric)
    return isinstance(metric, PerQuestion) and (kind.statistics, kind.fold) == (
        PerQuestion.statistics,
        PerQuestion.fold,
    )


@dataclass(frozen=True)
class Accuracy(PerQuestion):
    """The share of questions whose prediction equals one of the expected answers."""

    binary: ClassVar[bool] = True

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        return float(prediction.text in example.answers)


@dataclass(frozen=True)
class ShortlistRecall(PerQuestion):
    """The share of questions whose shortlist has an expected answer: the highest accuracy that is possible after it.

    Not defined for predictions without a shortlist.
    """

    binary: ClassVar[bool] = True

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        if not prediction.candidates:
            raise NotDefinedError("there is no shortlist")
        return float(any(answer in prediction.candidates for answer in example.answers))


@dataclass(frozen=True)
class MacroF1:
    """The plain mean of the F1 of every label that occurs in the answers or the predictions of the test.

    That is scikit-learn's `f1_score(average="macro")`. A label of the task that the test does not touch is left out; a
    failure is a missed answer but no predicted label. Not defined where every question brings its own choices.
    """

    version: ClassVar[int] = 1
    whole_only: ClassVar[bool] = True

    def statistics(self, prediction: Prediction, example: Example, task: Task) -> Sequence[float]:
        """Three numbers per label: right, predicted, expected."""
        labels = labels_of(task)
        expected, predicted = label_pair(prediction, example)
        if expected not in labels:
            raise DataError(
                f"The answer '{expected}' is none of the task's labels",
                f"question '{example.question.id}'",
                "add it to the labels, or fix the row",
            )
        numbers = [0.0] * (3 * len(labels))
        numbers[3 * labels.index(expected) + 2] = 1.0
        if predicted in labels:
            numbers[3 * labels.index(predicted) + 1] = 1.0
            numbers[3 * labels.index(predicted)] = float(predicted == expected)
        return numbers

    def fold(self, sums: Floats) -> Floats:
        right, predicted, expected = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
        touched = predicted + expected
        scores = np.divide(2 * right, touched, out=np.zeros_like(touched), where=touched > 0)
        mean: Floats = scores.sum(axis=-1) / (touched > 0).sum(axis=-1)
        return mean


@dataclass(frozen=True)
class Mean(PerQuestion):
    """The mean of your own `function(prediction, example)`, from 0 to 1. A failure counts 0 without a call."""

    function: Callable[[Prediction, Example], float]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(
                Fault(
                    "function",
                    f"{self.function!r} cannot be called",
                    "name a function (prediction, example) -> number",
                )
            )

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        value: Any = self.function(prediction, example)
        if not isinstance(value, Real):
            name = f"{getattr(self.function, '__module__', '')}.{getattr(self.function, '__qualname__', self.function)}"
            raise UserError(f"{name} returned {value!r}, expected a number", name, "let it return a number from 0 to 1")
        return float(value)


def labels_of(task: Task) -> tuple[str, ...]:
    """The labels that all questions share; raises NotDefinedError where there are none."""
    if not isinstance(task.answer, Choice):
        raise NotDefinedError(f"a {task.kind} task has no labels")
    if not task.answer.labels:
        raise NotDefinedError("every question brings its own choices")
    return task.answer.labels


def label_pair(prediction: Prediction, example: Example) -> tuple[str, str | None]:
    """The expected label and the predicted one (None for a failure).

    Where several labels are right, the expected label is the predicted one if it is right, else the first.
    """
    predicted = None if prediction.failure else prediction.text
    return (predicted if predicted in example.answers and predicted is not None else example.answers[0]), predicted


def numbers_of(metric: Metric, predictions: Sequence[Prediction], examples: Sequence[Example], task: Task) -> Floats:
    """The numbers of every question, shape (n, d)."""
    rows = [
        metric.statistics(prediction, example, task) for prediction, example in zip(predictions, examples, strict=True)
    ]
    return np.array(rows, dtype=np.float64)


def folded(metric: Metric, sums: Floats) -> Floats:
    """`metric.fold(sums)`, checked to be one value from 0 to 1 for each row of sums."""
    values = np.asarray(metric.fold(sums), dtype=np.float64)
    name = type(metric).__name__
    if values.shape != sums.shape[:-1]:
        raise UserError(
            f"The metric {name} folds sums of shape {sums.shape} into shape {values.shape}",
            f"{type(metric).__module__}.{name}.fold",
            "fold the last axis only: (..., d) to (...)",
        )
    if not np.all((values >= -1e-9) & (values <= 1 + 1e-9)):
        wrong = float(values.flat[np.flatnonzero(~((values >= -1e-9) & (values <= 1 + 1e-9)))[0]])
        raise UserError(
            f"The metric {name} gives {wrong:g}, which is not between 0 and 1",
            f"{type(metric).__module__}.{name}",
            "scale it so that 0 is worst and 1 is best",
        )
    return values


def question_values(metric: Metric, numbers: Floats) -> Floats | None:
    """Each question's own value, shape (n,), or None where the metric has no value for a single question."""
    return None if getattr(metric, "whole_only", False) else folded(metric, numbers)
