"""Guesses the keys of a `dataset` node from a table: layout, columns, kind of task, ids, groups; each with a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from stepladder.dataset.accounts import RowError
from stepladder.dataset.formats import Table
from stepladder.dataset.layouts import TURNS, LayoutName
from stepladder.dataset.values import text_of
from stepladder.errors import DataError

LOOKED_AT = 2000
"""Number of rows that guesses are based on."""

LONGEST_LABEL = 80
"""The largest number of characters of a label."""

TARGETS = (
    "label", "labels", "label_text", "target", "category", "class", "intent", "topic", "sentiment", "answer", "answers",
    "output", "response", "completion", "gold_label", "tag", "type", "y", "a", "reply", "summary",
)  # fmt: skip
INPUTS = (
    "text", "input", "premise", "sentence1", "question1", "text_a", "text1", "sentence_a",
    "question", "query", "sentence", "utterance", "message", "prompt", "review", "comment", "content",
    "body", "document", "sms", "tweet", "instruction", "description", "title", "q", "x",
)  # fmt: skip
IDS = ("id", "uid", "uuid", "guid", "_id", "row_id", "example_id", "question_id", "idx", "index")
GROUPS = (
    "group", "group_id", "user", "user_id", "customer", "customer_id", "author", "author_id", "session", "session_id",
    "conversation_id", "thread_id", "dialogue_id", "document_id", "doc_id", "patient_id", "speaker",
)  # fmt: skip
PAIRS = (
    ("premise", "hypothesis"), ("sentence1", "sentence2"), ("question1", "question2"), ("text_a", "text_b"),
    ("text1", "text2"), ("sentence_a", "sentence_b"),
)  # fmt: skip
"""Pairs of columns that form one question."""

LAYOUTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "messages": (("messages",),),
    "sharegpt": (("conversations",),),
    "alpaca": (("instruction", "output"),),
    "squad": (("paragraphs",), ("question", "context", "answers")),
    "prompt_completion": (("prompt", "completion"),),
}
"""The columns by which a layout is recognised."""


@dataclass(frozen=True)
class Guess:
    """The value of a dotted key below `dataset`, and why it was chosen."""

    key: str
    value: Any
    why: str


def header_of(table: Table) -> tuple[str, ...] | None:
    """Column names for a file without a header line; None if the first line is a header.

    The first line is a row if it contains a label that also occurs in other rows.
    """
    columns = [_Column.of(name, table) for name in table.columns]
    labels = [column for column in columns if column.is_labels and column.name in column.distinct]
    if not labels:
        return None
    texts = [column for column in columns if column not in labels]
    longest = max(texts, key=lambda column: column.length, default=None)
    names = {id(labels[-1]): "label", id(longest): "text"}
    return tuple(names.get(id(column), f"column_{number}") for number, column in enumerate(columns, 1))


def guesses(table: Table) -> list[Guess]:
    """Guess the keys of the `dataset` node.

    Raises:
        DataError: No column can be the question, or none can be the answer.
    """
    layout = _layout(table)
    if layout is not None:
        found = [Guess("layout", layout, f"the columns are those of the {layout} layout")]
        if layout != "squad":
            found.append(Guess("task.kind", "text", "the answers of this layout are free text"))
        return found
    return _column_of_turns(table) or list(_of_columns(table))


def _layout(table: Table) -> str | None:
    for name, ways in LAYOUTS.items():
        if name in get_args(LayoutName) and any(set(way) <= set(table.columns) for way in ways):
            return name
    return None


def _column_of_turns(table: Table) -> list[Guess]:
    """A column, with any name, whose values are all lists of turns."""
    for name in table.columns:
        turns = [record.values.get(name) for record in table.records[:LOOKED_AT] if not record.fault]
        for layout, (_, role, content) in TURNS.items():
            if turns and all(_is_conversation(value, {role, content}) for value in turns):
                return [
                    Guess("layout", layout, f"every value of '{name}' is a list of turns with {role} and {content}"),
                    Guess("messages", name, "the column of the turns"),
                    Guess("task.kind", "text", "the answers of this layout are free text"),
                ]
    return []


def _is_conversation(value: Any, keys: set[str]) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(t, Mapping) and keys <= t.keys() for t in value)


def _of_columns(table: Table) -> Iterator[Guess]:
    columns = {name: _Column.of(name, table) for name in table.columns if "{" not in name and name.strip()}
    target, why_target = _target(columns, table)
    source, why_source = _source([column for column in columns.values() if column is not target], table)
    pair = next((pair for pair in PAIRS if set(pair) <= columns.keys() and source.name in pair), None)
    if pair is not None:
        yield Guess("input", f"{{{pair[0]}}} -> {{{pair[1]}}}", "the two columns are one question")
    else:
        yield Guess("input", source.name, why_source)
    yield Guess("target", target.name, why_target)
    kind, why_kind = _kind(target)
    yield Guess("task.kind", kind, why_kind)
    rest = [column for column in columns.values() if column is not source and column is not target]
    for column in rest:
        if column.name.casefold() in IDS and column.is_unique:
            yield Guess("id", column.name, "it is named like an id, and its values are unique")
            break
    for column in rest:
        if column.name.casefold() in GROUPS and column.repeats:
            yield Guess("group", column.name, f"it is named like a group; {len(column.distinct):,} different values")
            break


@dataclass(frozen=True)
class _Column:
    name: str
    values: tuple[Any, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, name: str, table: Table) -> _Column:
        values = [record.values.get(name) for record in table.records[:LOOKED_AT] if not record.fault]
        kept = [value for value in values if _safe(value).strip()]
        return cls(name, tuple(kept), tuple(_safe(value) for value in kept))

    @property
    def distinct(self) -> set[str]:
        return set(self.texts)

    @property
    def is_unique(self) -> bool:
        return bool(self.texts) and len(self.distinct) == len(self.texts)

    @property
    def repeats(self) -> bool:
        return 1 < len(self.distinct) <= len(self.texts) / 2

    @property
    def length(self) -> float:
        return sum(map(len, self.texts)) / max(1, len(self.texts))

    @property
    def is_labels(self) -> bool:
        """Whether the values can be labels: few, short, and each occurring twice on average."""
        short = all(len(text) <= LONGEST_LABEL for text in self.texts)
        return short and self.repeats and not any(isinstance(value, list | tuple | Mapping) for value in self.values)


def _safe(value: Any) -> str:
    try:
        return text_of(value)
    except RowError:
        return ""


def _named(columns: Sequence[_Column], names: Sequence[str]) -> _Column | None:
    by_name = {column.name.strip().casefold(): column for column in columns if column.texts}
    return next((by_name[name] for name in names if name in by_name), None)


def _target(columns: Mapping[str, _Column], table: Table) -> tuple[_Column, str]:
    named = _named(list(columns.values()), TARGETS)
    if named is not None:
        return named, "by its name"
    labels = [c for c in columns.values() if c.is_labels and c.name.casefold() not in (*IDS, *GROUPS, *INPUTS)]
    if labels:
        fewest = min(reversed(labels), key=lambda column: len(column.distinct))
        return fewest, f"its values repeat: {len(fewest.distinct):,} different ones in {len(fewest.texts):,} rows"
    raise DataError(
        f"No column of {table.name} looks like the answer (columns there: {', '.join(table.columns)})",
        table.name,
        "name it: stepladder check dataset=file dataset.train=FILE dataset.input=COLUMN dataset.target=COLUMN",
    )


def _source(columns: Sequence[_Column], table: Table) -> tuple[_Column, str]:
    named = _named(columns, INPUTS)
    if named is not None:
        return named, "by its name"
    texts = [c for c in columns if c.texts and c.name.casefold() not in (*IDS, *GROUPS)]
    if texts:
        return max(texts, key=lambda column: column.length), "it has the longest texts"
    raise DataError(
        f"No column of {table.name} looks like the question (columns there: {', '.join(table.columns)})",
        table.name,
        "name it: stepladder check dataset=file dataset.train=FILE dataset.input=COLUMN dataset.target=COLUMN",
    )


def _kind(target: _Column) -> tuple[str, str]:
    if target.values and all(isinstance(value, Mapping) or _is_object(value) for value in target.values):
        return "json", "the answers are JSON objects"
    if target.is_labels:
        return "choice", f"{len(target.distinct):,} different short answers in {len(target.texts):,} rows"
    if len(target.distinct) <= 20 and all(len(text) <= LONGEST_LABEL for text in target.texts) and _are_scalars(target):
        few = f"{len(target.distinct):,} different short answers"
        return (
            ("choice", few) if target.name.strip().casefold() in TARGETS[:9] else ("text", f"{few}, few of them twice")
        )
    return "text", f"{len(target.distinct):,} different answers in {len(target.texts):,} rows"


def _are_scalars(column: _Column) -> bool:
    return not any(isinstance(value, list | tuple | Mapping) for value in column.values)


def _is_object(value: Any) -> bool:
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(value), dict)
    except (ValueError, RecursionError):
        return False
