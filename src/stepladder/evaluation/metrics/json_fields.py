"""Metrics of JSON answers: valid, equal to the expected answer, and right field by field.

A field is a path and its value: `{"when": {"day": "Monday "}}` has the field `when.day = "Monday"`. Strings are
trimmed; 1 and 1.0 are equal; null, {} and [] are empty, so they are not fields; the members of a list share one path,
so their order does not count (for `JsonExactMatch` it does).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from stepladder.evaluation.metrics.choice import Floats, NotDefinedError, PerQuestion
from stepladder.io.json_schema import SchemaValidator
from stepladder.types import Example, Json, Plain, Prediction, Task


class NotJsonError(ValueError):
    """A text that is not one JSON value."""


def parsed(text: str) -> Any:
    """The one JSON value that `text` is, strings trimmed and whole floats made integers; raises NotJsonError."""
    try:
        return _plain(json.loads(text, parse_constant=_refuse))
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error)) from error


@dataclass(frozen=True)
class ValidJson(PerQuestion):
    """The share of answers that parse and meet the task's schema."""

    binary: ClassVar[bool] = True

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        if not isinstance(task.answer, Json):
            raise NotDefinedError(f"a {task.kind} task has no schema")
        try:
            parsed(prediction.text)
        except NotJsonError:
            return 0.0
        return float(validator_of(task.answer.schema).is_valid(json.loads(prediction.text)))


@dataclass(frozen=True)
class JsonExactMatch(PerQuestion):
    """The share of answers that are the same JSON value as an expected one; the order of keys does not matter."""

    binary: ClassVar[bool] = True

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        try:
            ours = _canonical(parsed(prediction.text))
        except NotJsonError:
            return 0.0
        return float(any(ours == _canonical(parsed(answer)) for answer in example.answers))


class _Fields:
    """Fields right, predicted and expected, against the answer that fits best.

    An unusable answer has no fields; where none was expected either it counts as one wrong field, since an unreadable
    answer is not a correct empty one.
    """

    version: ClassVar[int] = 1

    def statistics(self, prediction: Prediction, example: Example, task: Task) -> Sequence[float]:
        ours = _predicted_fields(prediction)
        if ours is None:
            expected = min((sum(1 for _ in fields(parsed(answer))) for answer in example.answers), default=0)
            return (0.0, 0.0, float(expected)) if expected else (0.0, 1.0, 0.0)
        best = (0.0, 0.0, 0.0)
        for index, answer in enumerate(example.answers):
            theirs = Counter(fields(parsed(answer)))
            counts = (float((ours & theirs).total()), float(ours.total()), float(theirs.total()))
            if index == 0 or _f1(counts) > _f1(best):
                best = counts
        return best


@dataclass(frozen=True)
class FieldPrecision(_Fields):
    """Of all fields predicted over all questions, the share right; 1 where none was predicted nor expected."""

    def fold(self, sums: Floats) -> Floats:
        return _share(sums[..., 0], sums[..., 1], sums[..., 2])


@dataclass(frozen=True)
class FieldRecall(_Fields):
    """Of all fields expected over all questions, the share predicted; 1 where none was predicted nor expected."""

    def fold(self, sums: Floats) -> Floats:
        return _share(sums[..., 0], sums[..., 2], sums[..., 1])


@dataclass(frozen=True)
class FieldF1(_Fields):
    """The harmonic mean of field precision and field recall, over all questions together (micro)."""

    def fold(self, sums: Floats) -> Floats:
        both = sums[..., 1] + sums[..., 2]
        return _share(2 * sums[..., 0], both, both)


def fields(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a parsed value, each as (path, JSON text of its value)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from fields(inner, f"{path}.{json.dumps(key)}")
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, f"{path}[]")
    elif value is not None:
        yield path, _canonical(value)


def _predicted_fields(prediction: Prediction) -> Counter[tuple[str, str]] | None:
    """The fields of a usable answer, else None."""
    if prediction.failure:
        return None
    try:
        return Counter(fields(parsed(prediction.text)))
    except NotJsonError:
        return None


def _f1(counts: tuple[float, float, float]) -> float:
    right, predicted, expected = counts
    return 2 * right / (predicted + expected) if predicted + expected else 1.0


def _share(part: Floats, whole: Floats, other: Floats) -> Floats:
    nothing: Floats = np.where(other > 0, 0.0, 1.0)
    return np.divide(part, whole, out=nothing, where=whole > 0)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return value.strip()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def validator_of(schema: Plain) -> SchemaValidator:
    """The validator of a schema, made once for all answers."""
    return _validator(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=8)
def _validator(schema: str) -> SchemaValidator:
    return SchemaValidator(json.loads(schema))
