"""Predictions together with the examples that they are judged by, and the check that two runs can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stepladder.errors import DataError
from stepladder.types import EvalRequest, Example, Prediction


@dataclass(frozen=True)
class Answers:
    """The answers to a request: one prediction for each example, in the order of the examples.

    Attributes:
        predictions: May be passed in any order.
        statistics: What is known of the metrics' statistics already: by a metric's name, shape (n, d), in the order of
            the examples.

    Raises:
        DataError: Request, predictions and examples do not have the same ids, each once.
    """

    request: EvalRequest
    predictions: tuple[Prediction, ...]
    examples: tuple[Example, ...]
    statistics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        wanted = [example.question.id for example in self.examples]
        where = f"request '{self.request.name}'"
        _same_ids([question.id for question in self.request.questions], wanted, "questions", "examples", where)
        _same_ids([prediction.id for prediction in self.predictions], wanted, "predictions", "examples", where)
        found = {prediction.id: prediction for prediction in self.predictions}
        object.__setattr__(self, "predictions", tuple(found[id_] for id_ in wanted))

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(example.question.id for example in self.examples)

    def clusters(self) -> NDArray[np.intp] | None:
        """The number of each question's group, shape (n,), or None where no two questions share a group.

        A question without a group is a group of one.
        """
        return clusters_of(self.examples)


def clusters_of(examples: Sequence[Example], rows: NDArray[np.bool_] | None = None) -> NDArray[np.intp] | None:
    """The number of each example's group, of the examples in `rows`, or None where no two of them share a group."""
    kept = examples if rows is None else [example for example, there in zip(examples, rows, strict=True) if there]
    groups = [example.question.group for example in kept]
    named = {group for group in groups if group is not None}
    if len(named) + groups.count(None) == len(groups):
        return None
    number = {group: index for index, group in enumerate(dict.fromkeys(g for g in groups if g is not None))}
    alone = iter(range(len(number), len(number) + len(groups)))
    return np.array([next(alone) if group is None else number[group] for group in groups], dtype=np.intp)


def check_same_questions(ours: Answers, theirs: Answers) -> None:
    """Raise DataError, with the difference, unless both have the same questions and expected answers."""
    where = f"requests '{ours.request.name}' and '{theirs.request.name}'"
    _same_ids(ours.ids, theirs.ids, "one run", "the other", where)
    other = {example.question.id: example for example in theirs.examples}
    for example in ours.examples:
        if (what := unlike(example, other[example.question.id])) is not None:
            raise DataError(
                f"Two runs have different questions: '{example.question.id}' differs in its {what}",
                where,
                "run both on the same data, then compare again",
            )


def unlike(one: Example, other: Example) -> str | None:
    """The first part in which two rows of one id differ (text, history, group or answers), or None."""
    for what, ours, theirs in (
        ("text", one.question.text, other.question.text),
        ("history", one.question.history, other.question.history),
        ("group", one.question.group, other.question.group),
        ("answers", one.answers, other.answers),
    ):
        if ours != theirs:
            return what
    return None


def _same_ids(found: Sequence[str], wanted: Sequence[str], one: str, other: str, where: str) -> None:
    for name, ids in ((one, found), (other, wanted)):
        twice = [id_ for id_, count in Counter(ids).items() if count > 1]
        if twice:
            raise DataError(f"Ids appear more than once in {name}: {_some(twice)}", where, "give every row its own id")
    known_here, known_there = frozenset(found), frozenset(wanted)
    only_one = [id_ for id_ in found if id_ not in known_there]
    only_other = [id_ for id_ in wanted if id_ not in known_here]
    if only_one or only_other:
        parts = [f"only in {name}: {_some(ids)}" for name, ids in ((one, only_one), (other, only_other)) if ids]
        raise DataError(
            f"{one} and {other} do not have the same ids; {'; '.join(parts)}",
            where,
            "make all of them from the same rows",
        )


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(f"'{id_}'" for id_ in ids[:3])
    return shown if len(ids) <= 3 else f"{shown} and {len(ids) - 3} more"
