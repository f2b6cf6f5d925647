"""A dataset that was read: task, splits, passages and row counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Literal

from stepladder.dataset.accounts import Accounts, Place, Rejected, skipped_note
from stepladder.dataset.corpus import passages_of_rows
from stepladder.dataset.labels import LookAlikes, look_alikes
from stepladder.dataset.splits import SIDES
from stepladder.dataset.tables import Table
from stepladder.errors import DataError
from stepladder.types import Choice, Example, Passage, Question, Task, TrainingData


@dataclass(frozen=True)
class Loaded:
    """A dataset that was read.

    Attributes:
        task: The task.
        train: Training rows.
        validation: Validation rows.
        test: Test rows.
        corpus: Passages for retrieval.
        out_of_scope: Questions that have none of the labels.
        accounts: Row counts.
        origins: A hash or commit for each named file.
        places: The positions of the rows of each part (`train`, `validation`, `test`, `out_of_scope`), in order.
    """

    task: Task
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...]
    corpus: tuple[Passage, ...]
    out_of_scope: tuple[Question, ...]
    accounts: Accounts
    origins: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)

    @property
    def training(self) -> TrainingData:
        """The data that a method may learn from."""
        return TrainingData(self.task, self.train, self.validation, self.corpus)

    def questions(self, part: str) -> tuple[Question, ...]:
        """The questions of a part: `train`, `validation`, `test` or `out_of_scope`."""
        if part == "out_of_scope":
            return self.out_of_scope
        examples: tuple[Example, ...] = getattr(self, part)
        return tuple(example.question for example in examples)

    def label_counts(self) -> dict[str, dict[str, int]]:
        """Of each label of a choice task: its rows in each part. Empty where questions bring their own choices."""
        if not isinstance(self.task.answer, Choice):
            return {}
        counts = {side: Counter(e.answers[0] for e in getattr(self, side)) for side in SIDES}
        return {label: {side: counts[side][label] for side in SIDES} for label in self.task.answer.labels}

    def look_alikes(self) -> list[LookAlikes]:
        """Labels that look alike, with their number of rows in all parts."""
        return look_alikes({label: sum(rows.values()) for label, rows in self.label_counts().items()})

    def without(self, reasons: Mapping[Place, str]) -> Loaded:
        """The dataset without the rows at these places, which are counted as rejected with the given reasons.

        Passages that were made from rejected training rows are removed as well.
        """
        kept = {part: [place not in reasons for place in places] for part, places in self.places.items()}
        rows = {part: tuple(compress(getattr(self, part), keeps)) for part, keeps in kept.items()}
        gone = {e.question.id for e in self.train} - {e.question.id for e in rows["train"]}
        own = self.corpus == passages_of_rows(self.train)
        rejected = [
            Rejected(place, reasons[place]) for places in self.places.values() for place in places if place in reasons
        ]
        accounts = replace(
            self.accounts,
            rejections=(*self.accounts.rejections, *rejected),
            notes=(*self.accounts.notes, skipped_note(rejected)),
            train=len(rows["train"]),
            validation=len(rows["validation"]),
            test=len(rows["test"]),
        )
        return replace(
            self,
            train=rows["train"],
            validation=rows["validation"],
            test=rows["test"],
            out_of_scope=rows["out_of_scope"],
            corpus=tuple(p for p in self.corpus if not (own and p.id in gone)),
            accounts=accounts,
            places={part: tuple(compress(places, kept[part])) for part, places in self.places.items()},
        )

    def held_out(self, split: Literal["validation", "test"]) -> tuple[Example, ...]:
        """The rows of a held-out split.

        Raises:
            DataError: There are none.
        """
        rows = self.test if split == "test" else self.validation
        if not rows:
            to_do = f"give dataset.{split}=FILE, or a share with dataset.split.{split}"
            raise DataError(f"The dataset has no {split} rows", f"dataset.{split}", to_do)
        return rows


@dataclass(frozen=True)
class NewQuestions:
    """A file of questions to answer: its table, and the question of each record (None: rejected)."""

    table: Table
    by_record: tuple[Question | None, ...]
    accounts: Accounts

    @property
    def questions(self) -> tuple[Question, ...]:
        return tuple(question for question in self.by_record if question is not None)

    def without(self, reasons: Mapping[Place, str]) -> NewQuestions:
        """The same file after the rows at these places were also rejected."""
        kept = tuple(
            None if record.place in reasons else question
            for record, question in zip(self.table.records, self.by_record, strict=True)
        )
        return replace(self, by_record=kept, accounts=self.accounts.without(reasons))
