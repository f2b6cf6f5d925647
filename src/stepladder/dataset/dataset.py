"""The `dataset` node of a configuration, and the steps that read it: files, layout, rows, splits, task.

Constructing a `Dataset` reads nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from stepladder.dataset import settings
from stepladder.dataset.accounts import Accounts, OnBadRow, RowLog
from stepladder.dataset.corpus import check_gold, passages_of_rows, passages_of_table
from stepladder.dataset.formats import Dialect, Table, joined
from stepladder.dataset.labels import look_alikes, normalised
from stepladder.dataset.layouts import Layout, LayoutName, flattened, layout_of
from stepladder.dataset.loaded import Loaded, NewQuestions
from stepladder.dataset.rows import Kind, Row, RowReader, check_ids
from stepladder.dataset.sources import Files, Source
from stepladder.dataset.splits import (
    SIDES,
    OnOverlap,
    Side,
    Split,
    at_most,
    divide,
    duplicate_count,
    subset,
    without_overlap,
)
from stepladder.dataset.task import INSTRUCTIONS, TaskSpec, in_schema_order, task_of, valid_rows
from stepladder.errors import ConfigError, DataError, Fault
from stepladder.types import Choice, Passage, Plain, Task

__all__ = ["Dataset", "Loaded"]

Parts = dict[Side, list[Row]]
TASK, SPLIT, FILES = TaskSpec(), Split(), Files()


@dataclass(frozen=True)
class Dataset:
    """The keys of a `dataset` node.

    Args:
        train: Names that `source` can read (files, globs, splits), one or a list.
        validation: The same; None splits validation rows off the training rows.
        test: The same; None splits test rows off the training rows.
        layout: How a record holds question and answer; None means columns.
        input: A column or a template ('{text} ({topic})').
        target: The column of the answer.
        id: The column of the id; None uses a hash of the content.
        task: Kind (choice, text, json), instruction and schema.
        labels: A list of labels, or definitions by label; None infers them from the training rows.
        choices: The column of a row's own choices.
        group: The column of the group; rows of a group stay in one split.
        tags: Columns that define slices.
        gold: The column with the ids of gold passages.
        corpus: Passages for retrieval; None uses the training rows, or the paragraphs of a squad file.
        out_of_scope: Questions that have none of the labels.
        header: Column names of a csv file without a header line.
        quote: The quote character of a csv file.
        delimiter: The delimiter of a csv file; None detects it.
        encoding: The encoding of a text file; None detects it.
        messages: The column of turns, for the layouts messages and sharegpt.
        unanswerable: The answer to unanswerable squad questions; None makes them bad rows.
        split: Shares of test and validation rows.
        on_bad_row: `stop` or `skip`.
        on_overlap: `drop`, `stop` or `keep` training rows with the question or group of a test row.
        limit: At most this many training rows (per label).
        rows: At most this many training rows in all.
        draw: The number of the draw of `rows`.
        questions: At most this many test questions, drawn by content: the same ones for every method.
        source: Reads the names: files, a package, the hub.
    """

    train: str | Sequence[str] | None = None
    validation: str | Sequence[str] | None = None
    test: str | Sequence[str] | None = None
    layout: LayoutName | None = None
    input: str | None = None
    target: str | None = None
    id: str | None = None
    task: TaskSpec | Plain = TASK
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
    split: Split | Plain = SPLIT
    on_bad_row: OnBadRow = "stop"
    on_overlap: OnOverlap = "drop"
    limit: int | None = None
    rows: int | None = None
    draw: int = 0
    questions: int | None = None
    source: Source = FILES

    def __post_init__(self) -> None:
        faults = settings.choice_faults(vars(self)) + settings.name_faults(self.header, self.quote, self.tags)
        faults += settings.text_file_faults(self.delimiter, self.quote, self.encoding)
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
        faults += settings.column_faults(self._layout_name, self.input, self.target)
        faults += settings.layout_faults(self.layout, self.messages, self.unanswerable)
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
            faults += settings.label_faults(self.kind, self.labels, self.choices)
        if faults:
            raise ConfigError(faults)

    @property
    def kind(self) -> Kind:
        """The kind of the task. It does not depend on the rows."""
        return self._task.kind or ("choice" if self._layout_name == "columns" else "text")

    def read(self) -> Loaded:
        """Read every file.

        Raises:
            DataError: A file, a column or a row cannot be used.
        """
        log = RowLog(self.on_bad_row)
        given, paragraphs = self._read_parts(log)
        corpus = passages_of_table(self._table(self.corpus, log), log) if self.corpus else paragraphs
        beyond = self._questions(self._table(self.out_of_scope, log), log) if self.out_of_scope else []
        if corpus:
            given = {side: check_gold(rows, corpus, log) for side, rows in given.items()}
        log.finish()
        if self.id:
            check_ids(*given.values(), beyond)
        parts, overlap = without_overlap(self._with_held_out(given), self.on_overlap, log)
        self._require_training(parts, log)
        parts, task = self._with_task(parts, log)
        log.finish()
        self._require_training(parts, log)
        kept = at_most(parts["train"], self.limit, self._labelled)
        used = {
            **parts,
            "train": subset(kept, self.rows, self.draw),
            "test": at_most(parts["test"], self.questions, False),
        }
        if len(used["test"]) < len(parts["test"]):
            log.notes.append(f"{len(used['test'])} of {len(parts['test'])} test questions are used")
        train, validation, test = (tuple(row.example for row in used[side]) for side in SIDES)
        self._note_look_alikes(used, task, log)
        return Loaded(
            task=task,
            train=train,
            validation=validation,
            test=test,
            corpus=corpus or passages_of_rows(train),
            out_of_scope=tuple(row.question for row in beyond),
            accounts=self._accounts(log, parts, used, overlap),
            origins=self._origins(),
            places={
                **{side: tuple(row.place for row in used[side]) for side in SIDES},
                "out_of_scope": tuple(row.place for row in beyond),
            },
        )

    def new_questions(self, file: str) -> NewQuestions:
        """Read new questions from a file with the same input columns; answers are not needed."""
        log = RowLog(self.on_bad_row)
        table = self._table(file, log, FILES)
        table = flattened(table)[0] if self.layout == "squad" else table
        rows = self._rows.questions(table, log)
        log.finish()
        check_ids(rows)
        accounts = Accounts(
            dict(log.read),
            tuple(log.rejections),
            duplicates=duplicate_count(rows),
            notes=log.all_notes(),
            places=tuple(row.place for row in rows),
            files=tuple(log.files),
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

    def _table(self, names: str | Sequence[str], log: RowLog, source: Source | None = None) -> Table:
        """The records under one name or several; facts about their files are added to the log."""
        each = [names] if isinstance(names, str) else list(names)
        tables = [(source or self.source).table(name, self._dialect) for name in each]
        table = joined(tables, ", ".join(each))
        log.add_files(table.files, table.notes)
        return table

    def _origins(self) -> dict[str, str]:
        named = {key: getattr(self, key) for key in (*SIDES, "corpus", "out_of_scope")}
        each = {key: [names] if isinstance(names, str) else names for key, names in named.items() if names is not None}
        return {key: " ".join(map(self.source.origin, names)) for key, names in each.items()}

    def _questions(self, table: Table, log: RowLog) -> list[Row]:
        return self._rows.questions(flattened(table)[0] if self.layout == "squad" else table, log)

    def _read_parts(self, log: RowLog) -> tuple[Parts, tuple[Passage, ...]]:
        """The rows of every named file, and the paragraphs of squad files."""
        parts: Parts = {"train": [], "validation": [], "test": []}
        paragraphs: dict[str, Passage] = {}
        for side in SIDES:
            name: str | Sequence[str] | None = getattr(self, side)
            if name is not None:
                table = self._table(name, log)
                if self.layout == "squad":
                    table, found = flattened(table)
                    paragraphs.update((passage.id, passage) for passage in found)
                parts[side] = self._rows.examples(table, log)
        return parts, tuple(paragraphs.values())

    def _with_held_out(self, given: Parts) -> Parts:
        """Split validation and test rows off the training rows if no file is named for them."""
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

    def _with_task(self, parts: Parts, log: RowLog) -> tuple[Parts, Task]:
        """The task, and the parts without rows whose answers the task does not allow."""
        source = parts["train"] or parts["validation"] + parts["test"]
        if self.train is None and self.kind != "text" and not (self.labels or self.choices or self._task.schema):
            log.notes.append("there are no training rows: the allowed answers were inferred from the held-out rows")
        instruction = self._task.instruction
        if instruction is None:
            instruction = self._layout.instruction if self._layout.instruction is not None else INSTRUCTIONS[self.kind]
        labels = None
        if self.labels is not None or self.choices is not None:
            meaning = self.labels if isinstance(self.labels, Mapping) else {}
            definitions = {normalised(name): definition for name, definition in meaning.items()}
            labels = Choice(tuple(normalised(name) for name in self.labels or ()), definitions)
        task = task_of(self.kind, instruction, source, labels, self._task.schema)
        given = labels is not None
        return {side: in_schema_order(valid_rows(rows, task, given, log), task) for side, rows in parts.items()}, task

    def _note_look_alikes(self, used: Parts, task: Task, log: RowLog) -> None:
        """Report labels, and choices within one row, that differ only in how they are written."""
        rows = [row for side in SIDES for row in used[side]]
        if isinstance(task.answer, Choice):
            counts = Counter(row.example.answers[0] for row in rows)
            alike = look_alikes({label: counts[label] for label in task.answer.labels})
            log.notes += [f"look-alike labels: {group}" for group in alike]
        for row in rows:
            if row.question.choices and look_alikes(dict.fromkeys(row.question.choices, 1)):
                log.remark("some of its own choices differ only in how they are written", row.place)

    def _accounts(self, log: RowLog, parts: Parts, used: Parts, overlap: int) -> Accounts:
        return Accounts(
            read=dict(log.read),
            rejections=tuple(log.rejections),
            overlap=overlap,
            duplicates=sum(duplicate_count(rows) for rows in parts.values()),
            limited=len(parts["train"]) - len(used["train"]),
            train=len(used["train"]),
            validation=len(used["validation"]),
            test=len(used["test"]),
            notes=log.all_notes(),
            files=tuple(log.files),
        )

    def _require_training(self, parts: Parts, log: RowLog) -> None:
        if self.train is None or parts["train"]:
            return
        to_do = "lower dataset.split.test and dataset.split.validation"
        if log.rejections:
            first = log.rejections[0]
            to_do = f"{len(log.rejections)} rows were rejected, the first ({first.place}): {first.reason}"
        raise DataError("No training row is left", f"dataset.train={self.train}", to_do)
