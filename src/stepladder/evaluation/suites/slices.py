"""The suite `slices`: which questions have lower scores, and do answers change when terms are exchanged?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stepladder.errors import ConfigError, Fault, did_you_mean, require
from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.requests import EvalBatch, EvalInputs, unfit
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import Details, QuestionScore, SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import (
    as_measured,
    change,
    mean,
    metric_for,
    row_values,
    same_answer,
    with_interval,
)
from stepladder.evaluation.suites.gaps import Gap, gaps
from stepladder.evaluation.suites.terms import Swap, swap_of
from stepladder.evaluation.tables import Drawing, Table, TableCell
from stepladder.types import Example, Prediction

SHOWN, LISTED = 20, 200


@dataclass(frozen=True)
class Slices:
    """Each slice of the questions against the rest.

    Args:
        tags: Each value of these tags is a slice; None takes all tags of the dataset.
        lengths: How many slices of equal size by the number of words; 0 for none.
        minimum: Slices of fewer questions are listed without a score.
        swaps: Groups of terms that are exchanged for one another, by name.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = None

    tags: Sequence[str] | None = None
    lengths: int = 3
    minimum: int = 20
    swaps: Mapping[str, Sequence[Sequence[str]]] | None = None

    def __post_init__(self) -> None:
        wrong = []
        for name, groups in (self.swaps or {}).items():
            try:
                swap_of(groups)
            except ConfigError as error:
                wrong += [Fault(f"swaps.{name}", fault.what, fault.to_do) for fault in error.faults]
        no_rest = f"{self.lengths} slices have no rest"
        require(
            (self.lengths >= 0 and self.lengths != 1, Fault("lengths", no_rest, "give 0, or at least 2")),
            (self.minimum >= 1, Fault("minimum", f"{self.minimum} is not a minimum", "give at least 1")),
            *((False, fault) for fault in wrong),
        )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        there = list(dict.fromkeys(tag for e in inputs.examples for tag in e.question.tags))
        hints = {tag: did_you_mean(tag, there) if there else _SAY for tag in self.tags or ()}
        require(*((t in there, Fault("", f"the questions have no tag '{t}'", hint)) for t, hint in hints.items()))
        if not there and not self.lengths and not self.swaps:
            raise unfit("the questions have no tags, and no other slices are asked for", _SAY)
        return (inputs.plain, *self._swapped(inputs))

    def _swapped(self, inputs: EvalInputs) -> Iterator[EvalBatch]:
        for name, groups in (self.swaps or {}).items():
            swap, closed = swap_of(groups), inputs.main.task.kind == "choice"
            new = [(e, _exchanged(e, swap, closed)) for e in inputs.examples]
            found = [other for e, other in new if other.question.text != e.question.text]
            if found:
                yield inputs.ask(f"swap.{name}", found)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        main = answers["main"]
        values, clusters = row_values(main), main.clusters()
        parts = dict(self._parts(main.examples))
        big = {name: rows for name, rows in parts.items() if self.minimum <= rows.sum() < len(rows)}
        small = [(name, int(rows.sum())) for name, rows in parts.items() if name not in big]
        found, scores, left_out = [], [], {}
        metrics: dict[str, Measured] = {"all": mean(values, clusters, seed)}
        details: Details = {"metric": type(metric_for(main.request.task)).__name__}
        if big:
            found = gaps(values, clusters, list(big.values()), seed)
            scores = [mean(values[rows], clusters_of(main.examples, rows), seed) for rows in big.values()]
            worst = min(range(len(big)), key=lambda i: (scores[i].value, list(big)[i]))
            metrics |= {"worst": scores[worst], "gap": as_measured(found[worst])}
            details["worst"] = _named(list(big)[worst], scores[worst], found[worst])
        else:
            left_out["slices"] = f"no slice has {self.minimum} questions and a rest"
        tables: list[Drawing] = [_table(list(big), scores, found, small)]
        lines: list[QuestionScore] = []
        swaps = [
            _Swapped(name, main, answers.get(f"swap.{name}"), swap_of(g)) for name, g in (self.swaps or {}).items()
        ]
        left_out |= {f"swap.{swap.name}": "no question has any of its terms" for swap in swaps if not swap.ids}
        batch = [swap for swap in swaps if swap.ids]
        for swap in batch:
            metrics[f"swap_{swap.name}_changed"] = mean(swap.changed, swap.clusters, seed)
            lines += question_scores(f"swap_{swap.name}_changed", swap.ids, swap.changed)
        if batch:
            tables += [_swap_table(batch, seed), _changed(batch)]
        return SuiteScores(metrics, tuple(lines), {**details, "left_out": left_out}, tuple(tables))

    def _parts(self, examples: Sequence[Example]) -> Iterator[tuple[tuple[str, str], NDArray[np.bool_]]]:
        """Every slice: tag and value, and which rows are in it."""
        tags = self.tags if self.tags is not None else list(dict.fromkeys(t for e in examples for t in e.question.tags))
        for tag in tags:
            values = np.array([e.question.tags.get(tag, "") for e in examples], dtype=object)
            for value in sorted(set(values)):
                yield (tag, value), np.asarray(values == value, dtype=bool)
        if self.lengths:
            words = np.array([len(e.question.text.split()) for e in examples])
            edges = np.unique(np.quantile(words, np.linspace(0, 1, self.lengths + 1)[1:-1], method="lower"))
            place = np.searchsorted(edges, words, side="left")
            for number in np.unique(place):
                rows = place == number
                least, most = words[rows].min(), words[rows].max()
                yield ("words", f"{least}" if least == most else f"{least} to {most}"), rows


_SAY = "name columns by dataset.tags=[...]"


class _Swapped:
    """The answers before and after an exchange of terms, for the questions that have any of them."""

    def __init__(self, name: str, main: Answers, other: Answers | None, swap: Swap) -> None:
        self.name, self.ids = name, () if other is None else other.ids
        if other is None:
            return
        place = {id_: i for i, id_ in enumerate(main.ids)}
        places = [place[id_] for id_ in other.ids]
        self.before = [main.predictions[i] for i in places]
        self.after, self.examples = other.predictions, other.examples
        self.values = row_values(main)[places], row_values(other)
        closed = main.request.task.kind == "choice"
        self.changed: Floats = np.array(
            [float(not _same(b, a, swap, closed)) for b, a in zip(self.before, self.after, strict=True)]
        )
        self.clusters = clusters_of(other.examples)


def _exchanged(example: Example, swap: Swap, closed: bool) -> Example:
    """The question with its terms exchanged. A label stays what it is; a free answer may have them exchanged too."""
    question = replace(example.question, text=swap(example.question.text))
    answers = example.answers if closed else tuple(dict.fromkeys([*example.answers, *map(swap, example.answers)]))
    return replace(example, question=question, answers=answers)


def _same(before: Prediction, after: Prediction, swap: Swap, closed: bool) -> bool:
    return same_answer(before, after) or (not closed and same_answer(replace(before, text=swap(before.text)), after))


def _named(slice_: tuple[str, str], score: Measured, gap: Gap) -> dict[str, Any]:
    return {"tag": slice_[0], "value": slice_[1], "score": score.value, "gap": gap.value, "p_adjusted": gap.p_adjusted}


def _table(
    names: Sequence[tuple[str, str]], scores: Sequence[Measured], found: Sequence[Gap], small: Sequence[tuple[Any, int]]
) -> Table:
    rows: list[list[TableCell]] = [
        [*name, score.n, with_interval(score), with_interval(as_measured(gap), "{:+.3f}"), gap.p_adjusted]
        for name, score, gap in sorted(zip(names, scores, found, strict=True), key=lambda row: (row[1].value, row[0]))
    ]
    rows += [[*name, count, None, None, None] for name, count in small]
    note = "The lowest first; a gap is to all questions outside the slice. The lowest of many is low by chance, too."
    if small:
        note += f" {len(small)} slices are too small to judge, or have no rest."
    return Table("Slices", ("tag", "value", "questions", "score", "gap to the rest", "p (Holm)"), rows[:LISTED], note)


def _swap_table(swaps: Sequence[_Swapped], seed: int) -> Table:
    rows: list[list[TableCell]] = []
    for swap in swaps:
        before, after = swap.values
        moved = with_interval(change(after, before, swap.clusters, seed), "{:+.3f}")
        rows.append([swap.name, len(swap.ids), with_interval(mean(swap.changed, swap.clusters, seed)), moved])
    columns = ("exchanged", "questions", "answers that change", "score to before")
    return Table("Terms exchanged", columns, rows, "over the questions that have any of the terms")


def _changed(swaps: Sequence[_Swapped]) -> Table:
    rows: list[list[TableCell]] = [
        [id_, swap.name, example.question.text, before.text, after.text]
        for swap in swaps
        for id_, example, before, after, changed in zip(
            swap.ids, swap.examples, swap.before, swap.after, swap.changed, strict=True
        )
        if changed
    ]
    columns = ("id", "exchanged", "asked", "answer before", "answer after")
    return Table("Answers that an exchange changed", columns, rows[:SHOWN], f"{len(rows)} in total")
