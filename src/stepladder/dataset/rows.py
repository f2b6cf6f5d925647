"""Converts records into rows: question, accepted answers, id."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from stepladder.dataset.accounts import Place, RowError, RowLog
from stepladder.dataset.formats import FileFacts, Record, Table
from stepladder.dataset.labels import is_blank, normalised
from stepladder.dataset.layouts import Draft, Layout
from stepladder.dataset.values import json_of, list_of, listed, text_in, text_of
from stepladder.errors import DataError, did_you_mean
from stepladder.types import Example, Plain, Question

Kind = Literal["choice", "text", "json"]


@dataclass(frozen=True)
class Row:
    """An example and its position."""

    place: Place
    example: Example

    @property
    def question(self) -> Question:
        return self.example.question

    @cached_property
    def question_key(self) -> str:
        return question_key(self.question)


def question_key(question: Question) -> str:
    """A key that is equal for equal questions, compared in Unicode NFC with white space folded; case matters."""
    turns = [f"{turn.role}: {turn.content}" for turn in question.history]
    parts = [question.text, question.system, *question.choices, *turns]
    folded = [" ".join(unicodedata.normalize("NFC", part).split()) for part in parts]
    return json.dumps([len(question.choices), *folded])


@dataclass(frozen=True)
class RowReader:
    """Reads records with the given columns."""

    kind: Kind
    layout: Layout
    id: str | None = None
    choices: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    gold: str | None = None

    def examples(self, table: Table, log: RowLog) -> list[Row]:
        """Every valid row of the table, in order. The others are rejected in the log."""
        named = [self.id, self.choices, self.group, self.gold, *self.tags]
        require([*self.layout.asks, *self.layout.answers, *(n for n in named if n)], table, self.layout.elsewhere)
        return self._rows(table, log, self._example)

    def questions(self, table: Table, log: RowLog) -> list[Row]:
        """Rows without answers. Columns that the question does not need may be missing."""
        require([*self.layout.asks, *([self.choices] if self.choices else [])], table, self.layout.elsewhere)
        return self._rows(table, log, lambda record, draft: Example(self._question(record.values, draft), ()))

    def _rows(self, table: Table, log: RowLog, read: Callable[[Record, Draft], Example]) -> list[Row]:
        for file, count in Counter(record.place.file for record in table.records).items():
            log.count(file, count)
        rows = []
        for record in table.records:
            try:
                if record.fault:
                    raise RowError(record.fault)
                draft = self._draft(record)
                rows.append(Row(record.place, read(record, draft)))
            except RowError as error:
                log.reject(record.place, str(error))
                continue
            for remark in draft.remarks:
                log.remark(remark, record.place)
        return rows if self.id and self.id in table.columns else _with_ids(rows)

    def _draft(self, record: Record) -> Draft:
        draft = self.layout.read(record.values)
        if is_blank(draft.text):
            raise RowError("the question is empty")
        answers = listed(draft.target) if self.kind != "json" and self.layout.lists_answers else None
        if answers is None:
            return draft
        remark = (
            f"{self.layout.answers[0]} is a JSON list and read as a list of accepted answers; to keep the list as one "
            "answer, set dataset.task.kind=json"
        )
        return replace(draft, target=answers, remarks=(*draft.remarks, remark))

    def _example(self, record: Record, draft: Draft) -> Example:
        question = self._question(record.values, draft)
        gold = [draft.passage.id] if draft.passage else []
        if self.gold:
            named = record.values.get(self.gold)
            one = isinstance(named, str) and not named.lstrip().startswith("[")
            gold = [text_of(g) for g in ([named] if one and named else list_of(named, self.gold))]
        return Example(question, self._answers(draft.target, question.choices), tuple(gold))

    def _question(self, values: Plain, draft: Draft) -> Question:
        own_id = text_in(values, self.id) if self.id else ""
        if self.id and self.id in values and not own_id.strip():
            raise RowError(f"the id is empty ({self.id})")
        choices: tuple[str, ...] = ()
        if self.choices:
            choices = tuple(normalised(text_of(each)) for each in list_of(values.get(self.choices), self.choices))
            if len(set(choices)) < 2 or len(set(choices)) < len(choices):
                raise RowError(f"{self.choices} does not have two or more different choices")
        group = text_in(values, self.group) if self.group else draft.group
        tags = {tag: normalised(text_in(values, tag)) for tag in self.tags}
        return Question(own_id, draft.text, draft.history, draft.system, choices, normalised(group or "") or None, tags)

    def _answers(self, target: Any, choices: tuple[str, ...]) -> tuple[str, ...]:
        column = self.layout.answers[0] if self.layout.answers else "the answer"
        if self.kind == "json" and not (target is None or target == ""):
            return (json_of(target, column),)
        found = target if isinstance(target, list | tuple) else [target]
        texts = [text for text in (text_in({column: t}, column) for t in found) if not is_blank(text)]
        answers = tuple(dict.fromkeys(map(normalised, texts) if self.kind == "choice" else texts))
        if not answers:
            raise RowError(f"{self.layout.no_answer} ({column})")
        if self.kind == "choice" and len(answers) > 1:
            raise RowError(f"{column} has several labels ({', '.join(answers)}); a choice task has one a row")
        if choices and answers[0] not in choices:
            raise RowError(f"the target '{answers[0]}' is not among the row's own choices ({', '.join(choices)})")
        return answers


def require(columns: Sequence[str], table: Table, elsewhere: str = "") -> None:
    """Check that a table has columns.

    Args:
        columns: Names of the columns.
        table: The table.
        elsewhere: How to fix a file with other columns.

    Raises:
        DataError: A column is missing, or no record could be read.
    """
    faulty = [] if table.columns else [record for record in table.records if record.fault]
    if columns and faulty:
        what = f"No record of {table.name} can be read, the first: {faulty[0].fault}"
        raise DataError(what, str(faulty[0].place), "fix the file")
    for column in columns:
        if column not in table.columns:
            without = next((file for file in table.files if column not in file.columns), None)
            file = without or FileFacts(table.name, "", len(table.records), table.columns)
            raise _no_column(column, file, elsewhere)


def _no_column(column: str, file: FileFacts, elsewhere: str) -> DataError:
    what = f"There is no column '{column}' in {file.name}"
    if not file.columns:
        return DataError(what, file.name, "no record of it could be read")
    hint = did_you_mean(column, file.columns)
    near = hint.startswith("did you")
    listed = f"columns there: {', '.join(file.columns)}"
    to_do = f"{hint} ({listed})" if near else listed
    if elsewhere and not near:
        to_do += f"; {elsewhere}"
    if file.header_line and not near:
        count = len(file.columns)
        named = "its one column" if count == 1 else f"its {count} columns in their order"
        to_do += f" (read from the first line); if the file has no header line, name {named} with dataset.header=[...]"
    if file.delimiter is not None and len(file.columns) == 1:
        to_do += "; if the fields are separated by another character, set it with dataset.delimiter"
    return DataError(what, file.name, to_do)


def _with_ids(rows: list[Row]) -> list[Row]:
    """Give rows without an id a hash of the question, with a number from the second equal question on.

    The answer is not part of the hash, because a method may see the id.
    """
    seen: Counter[str] = Counter()
    named = []
    for row in rows:
        question = row.question
        turns = [[turn.role, turn.content] for turn in question.history]
        content = json.dumps([question.text, turns, question.system, question.choices], ensure_ascii=False)
        digest = hashlib.sha256(content.encode()).hexdigest()[:16]
        seen[digest] += 1
        own_id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
        named.append(replace(row, example=replace(row.example, question=replace(question, id=own_id))))
    return named


def check_ids(*parts: list[Row]) -> None:
    """Raises DataError if two rows have the same id; the message names both."""
    first: dict[str, Place] = {}
    for rows in parts:
        for row in rows:
            before = first.setdefault(row.question.id, row.place)
            if before is not row.place:
                raise DataError(
                    f"Two rows have the id '{row.question.id}'",
                    f"{before} and {row.place}",
                    "make the ids unique, or set dataset.id=null to use hashes of the content",
                )
