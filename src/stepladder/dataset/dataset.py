"""A dataset as a value: which rows, what of them is asked, what counts as an answer, what is held out.

Knows the keys of a `dataset` node and in which order a dataset is read; every step stands in a module of its own.
Constructing one reads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepladder.dataset import settings
from stepladder.dataset.accounts import Accounts, Ledger, OnBadRow
from stepladder.dataset.corpus import check_gold, of_table, of_training
from stepladder.dataset.formats import Dialect, Table, joined
from stepladder.dataset.labels import look_alikes, normalised
from stepladder.dataset.layouts import Layout, LayoutName, flattened, layout_of
from stepladder.dataset.loaded import Loaded, NewQuestions
from stepladder.dataset.rows import Kind, Row, RowReader, check_ids
from stepladder.dataset.sources import Files, Source
from stepladder.dataset.splits import SIDES, OnOverlap, Side, Split, divide, drawn, limited, surplus, without_overlap
from stepladder.dataset.task import INSTRUCTIONS, TaskSpec, fitting, in_schema_order, task_of
from stepladder.errors import ConfigError, DataError, Fault
from stepladder.types import Choice, Passage, Task

__all__ = ["Dataset", "Loaded"]

Parts = dict[Side, list[Row]]
TASK, SPLIT, FILES = TaskSpec(), Split(), Files()


@dataclass(frozen=True)
class Dataset:
    """The keys of a `dataset` node.

    train, validation, test: names that `source` knows (files, globs, splits), one or a list; what is not given is
    split off `train`.
    layout: null is columns. input: a column or a template ('{text} ({topic})').
    target, id, choices, group, gold: columns; tags: columns kept as slices.
    task: kind (choice, text, json), instruction, schema. labels: a list, or definitions by name.
    corpus: what retrieval reads; by default the training rows, for squad its paragraphs.
    out_of_scope: rows that belong to no label. header, quote, delimiter: what a csv file does not say of itself;
    encoding: of a text file. What is null is detected and reported.
    messages: the column of turns, for the layouts messages and sharegpt. unanswerable: the answer to squad questions
    that have none; null makes them bad rows.
    limit: at most so many training rows (of each label). rows: at most so many in all, the `draw`-th so many.
    questions: at most so many test questions, drawn by content, so that every method is asked the same ones.
    """

    train: str | Sequence[str] | None = None
    validation: str | Sequence[str] | None = None
    test: str | Sequence[str] | None = None
    layout: LayoutName | None = None
    input: str | None = None
    target: str | None = None
    id: str | None = None
    task: TaskSpec | Mapping[str, Any] = TASK
    labels: Sequence[str] | Mapping[str, str] | None = None
    choices: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    gold: str | None = None
    corpus: str | Sequence[str] | None = None
    out_of_scope: str | Sequence[str] | None = None
    header: Sequence[str] | None = None
    quote: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    messages: str | None = None
    unanswerable: str | None = None
    split: Split | Mapping[str, Any] = SPLIT
    on_bad_row: OnBadRow = "stop"
    on_overlap: OnOverlap = "drop"
    limit: int | None = None
    rows: int | None = None
    draw: int = 0
    questions: int | None = None
    source: Source = FILES

    def __post_init__(self) -> None:
        faults = settings.of_words(vars(self)) + settings.of_names(self.header, self.quote, self.tags)
        faults += settings.of_text(self.delimiter, self.quote, self.encoding)
        if self.train is None and self.test is None:
            faults.append(Fault("train", "no rows are named", "give dataset.train=FILE, or dataset.test=FILE alone"))
        faults += [
            Fault(key, f"{value} leaves no training rows", "give a whole number from 1, or null")
            for key, value in (("limit", self.limit), ("rows", self.rows))
            if value is not None and value < 1
        ]
        if self.questions is not None and self.questions < 1:
            to_do = "give a whole number from 1, or null"
            faults.append(Fault("questions", f"{self.questions} leaves no test questions", to_do))
        faults += settings.of_columns(self._layout_name, self.input, self.target)
        faults += settings.of_layout(self.layout, self.messages, self.unanswerable)
        faults += [
            Fault(key, "no file is named", "name a file, a list of files or a glob")
            for key in (*SIDES, "corpus", "out_of_scope")
            if (named := getattr(self, key)) is not None and not (named and all(named))
        ]
        for read in (lambda: self._task, lambda: self._split):
            try:
                read()
            except ConfigError as error:
                faults += error.faults
        if not any(fault.key.startswith("task") for fault in faults):
            faults += settings.of_labels(self.kind, self.labels, self.choices)
        if faults:
            raise ConfigError(faults)

    @property
    def kind(self) -> Kind:
        """The kind of the task, known without reading a row."""
        return self._task.kind or ("choice" if self._layout_name == "columns" else "text")

    def read(self) -> Loaded:
        """Read every file. Raises DataError, with the place, for what can not be used."""
        ledger = Ledger(self.on_bad_row)
        given, paragraphs = self._given(ledger)
        corpus = of_table(self._table(self.corpus, ledger), ledger) if self.corpus else paragraphs
        beyond = self._asked(self._table(self.out_of_scope, ledger), ledger) if self.out_of_scope else []
        if corpus:
            given = {side: check_gold(rows, corpus, ledger) for side, rows in given.items()}
        ledger.settle()
        if self.id:
            check_ids(*given.values(), beyond)
        parts, overlap = without_overlap(self._divided(given), self.on_overlap, ledger)
        self._demand_training(parts, ledger)
        parts, task = self._with_task(parts, ledger)
        ledger.settle()
        self._demand_training(parts, ledger)
        kept = limited(parts["train"], self.limit, self._labelled)
        used = {
            **parts,
            "train": drawn(kept, self.rows, self.draw),
            "test": limited(parts["test"], self.questions, False),
        }
        if len(used["test"]) < len(parts["test"]):
            ledger.notes.append(f"{len(used['test'])} of {len(parts['test'])} test questions are asked")
        train, validation, test = (tuple(row.example for row in used[side]) for side in SIDES)
        self._note_look_alikes(used, task, ledger)
        return Loaded(
            task=task,
            train=train,
            validation=validation,
            test=test,
            corpus=corpus or of_training(train),
            out_of_scope=tuple(row.question for row in beyond),
            accounts=self._accounts(ledger, parts, used, overlap),
            origins=self._origins(),
            places={
                **{side: tuple(row.place for row in used[side]) for side in SIDES},
                "out_of_scope": tuple(row.place for row in beyond),
            },
        )

    def new_questions(self, file: str) -> NewQuestions:
        """New questions from a file of the same columns; answers are not needed."""
        ledger = Ledger(self.on_bad_row)
        table = self._table(file, ledger, FILES)
        table = flattened(table)[0] if self.layout == "squad" else table
        rows = self._rows.questions(table, ledger)
        ledger.settle()
        check_ids(rows)
        accounts = Accounts(
            dict(ledger.read),
            tuple(ledger.rejections),
            duplicates=surplus(rows),
            notes=ledger.all_notes(),
            places=tuple(row.place for row in rows),
            files=tuple(ledger.files),
        )
        by_place = {row.place: row.question for row in rows}
        return NewQuestions(table, tuple(by_place.get(record.place) for record in table.records), accounts)

    @cached_property
    def _task(self) -> TaskSpec:
        return settings.node_of(TaskSpec, self.task, "task")

    @cached_property
    def _split(self) -> Split:
        return settings.node_of(Split, self.split, "split")

    @property
    def _layout_name(self) -> LayoutName:
        return self.layout or ("messages" if self.messages is not None else "columns")

    @property
    def _layout(self) -> Layout:
        return layout_of(self._layout_name, self.input, self.target, self.messages, self.unanswerable)

    @property
    def _dialect(self) -> Dialect:
        header = tuple(self.header) if self.header is not None else None
        return Dialect(header, self.quote, settings.delimiter_of(self.delimiter), self.encoding)

    @property
    def _rows(self) -> RowReader:
        return RowReader(self.kind, self._layout, self.id, self.choices, self.group, tuple(self.tags), self.gold)

    @property
    def _labelled(self) -> bool:
        return self.kind == "choice" and self.choices is None

    def _table(self, names: str | Sequence[str], ledger: Ledger, source: Source | None = None) -> Table:
        """The rows under one name or several; what was found out about their files goes to the ledger."""
        each = [names] if isinstance(names, str) else list(names)
        tables = [(source or self.source).table(name, self._dialect) for name in each]
        table = joined(tables, ", ".join(each))
        ledger.knows(table.files, table.notes)
        return table

    def _origins(self) -> dict[str, str]:
        named = {key: getattr(self, key) for key in (*SIDES, "corpus", "out_of_scope")}
        each = {key: [names] if isinstance(names, str) else names for key, names in named.items() if names is not None}
        return {key: " ".join(map(self.source.origin, names)) for key, names in each.items()}

    def _asked(self, table: Table, ledger: Ledger) -> list[Row]:
        return self._rows.questions(flattened(table)[0] if self.layout == "squad" else table, ledger)

    def _given(self, ledger: Ledger) -> tuple[Parts, tuple[Passage, ...]]:
        """The rows of every named file, and the paragraphs that a squad layout brings."""
        parts: Parts = {"train": [], "validation": [], "test": []}
        paragraphs: dict[str, Passage] = {}
        for side in SIDES:
            name: str | Sequence[str] | None = getattr(self, side)
            if name is not None:
                table = self._table(name, ledger)
                if self.layout == "squad":
                    table, found = flattened(table)
                    paragraphs.update((passage.id, passage) for passage in found)
                parts[side] = self._rows.examples(table, ledger)
        return parts, tuple(paragraphs.values())

    def _divided(self, given: Parts) -> Parts:
        """Split off the training rows what no file is named for."""
        if not given["train"]:
            return given
        split = Split(
            test=0 if self.test is not None else self._split.test,
            validation=0 if self.validation is not None else self._split.validation,
        )
        divided = divide(given["train"], split, self._labelled)
        return {
            side: divided[side] if side == "train" or getattr(self, side) is None else given[side] for side in SIDES
        }

    def _with_task(self, parts: Parts, ledger: Ledger) -> tuple[Parts, Task]:
        """The task, and the parts without the rows whose answers it does not allow."""
        told_by = parts["train"] or parts["validation"] + parts["test"]
        if self.train is None and self.kind != "text" and not (self.labels or self.choices or self._task.schema):
            ledger.notes.append("there are no training rows: what may be answered was read off the held-out rows")
        instruction = self._task.instruction
        if instruction is None:
            instruction = self._layout.instruction if self._layout.instruction is not None else INSTRUCTIONS[self.kind]
        labels = None
        if self.labels is not None or self.choices is not None:
            meaning = self.labels if isinstance(self.labels, Mapping) else {}
            definitions = {normalised(name): definition for name, definition in meaning.items()}
            labels = Choice(tuple(normalised(name) for name in self.labels or ()), definitions)
        task = task_of(self.kind, instruction, told_by, labels, self._task.schema)
        given = labels is not None
        return {side: in_schema_order(fitting(rows, task, given, ledger), task) for side, rows in parts.items()}, task

    def _note_look_alikes(self, used: Parts, task: Task, ledger: Ledger) -> None:
        """Report labels, and choices within one row, that differ only in how they are written."""
        rows = [row for side in SIDES for row in used[side]]
        if isinstance(task.answer, Choice):
            counts = Counter(row.example.answers[0] for row in rows)
            alike = look_alikes({label: counts[label] for label in task.answer.labels})
            ledger.notes += [f"look-alike labels: {group}" for group in alike]
        for row in rows:
            if row.question.choices and look_alikes(dict.fromkeys(row.question.choices, 1)):
                ledger.remark("some of its own choices differ only in how they are written", row.place)

    def _accounts(self, ledger: Ledger, parts: Parts, used: Parts, overlap: int) -> Accounts:
        return Accounts(
            read=dict(ledger.read),
            rejections=tuple(ledger.rejections),
            overlap=overlap,
            duplicates=sum(surplus(rows) for rows in parts.values()),
            limited=len(parts["train"]) - len(used["train"]),
            train=len(used["train"]),
            validation=len(used["validation"]),
            test=len(used["test"]),
            notes=ledger.all_notes(),
            files=tuple(ledger.files),
        )

    def _demand_training(self, parts: Parts, ledger: Ledger) -> None:
        if self.train is None or parts["train"]:
            return
        to_do = "lower dataset.split.test and dataset.split.validation"
        if ledger.rejections:
            first = ledger.rejections[0]
            to_do = f"{len(ledger.rejections)} rows were rejected, the first ({first.place}): {first.reason}"
        raise DataError("No training row is left", f"dataset.train={self.train}", to_do)
