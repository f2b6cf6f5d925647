"""The result of reading a file: records with their positions, columns, and facts about the file.

The reader of every format returns a `Table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from stepladder.dataset.accounts import FileFacts, Place
from stepladder.errors import DataError
from stepladder.types import Plain


@dataclass(frozen=True)
class Dialect:
    """The user's settings for a text file. None is detected, or means the default of the format.

    Attributes:
        header: Column names of a csv or tsv file that has no header line.
        quote: The quote character; `none` makes quotes plain text.
        delimiter: The character between two fields.
        encoding: The name of a Python text codec.
    """

    header: tuple[str, ...] | None = None
    quote: str | None = None
    delimiter: str | None = None
    encoding: str | None = None


@dataclass(frozen=True)
class Record:
    """One row of a file, or the `fault` because of which it cannot be read."""

    place: Place
    values: Plain = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Table:
    """The records of one or several files in their order.

    Attributes:
        name: The name of the table in messages.
        columns: The columns of a file, or the common columns of several files.
        records: The rows.
        files: Facts about each file.
        notes: What was detected or dropped, one sentence each.
    """

    name: str
    columns: tuple[str, ...]
    records: tuple[Record, ...]
    files: tuple[FileFacts, ...] = ()
    notes: tuple[str, ...] = ()


def joined(tables: Sequence[Table], name: str) -> Table:
    """Concatenate tables.

    Raises:
        DataError: Two of them are the same file.
    """
    if len(tables) == 1:
        return tables[0]
    names = [facts.name for table in tables for facts in table.files]
    twice = [each for position, each in enumerate(names) if each in names[:position]]
    if twice:
        raise DataError(f"{twice[0]} is named twice", name, "name every file once")
    columns = tuple(c for c in tables[0].columns if all(c in table.columns for table in tables))
    return Table(
        name,
        columns,
        tuple(record for table in tables for record in table.records),
        tuple(facts for table in tables for facts in table.files),
        tuple(note for table in tables for note in table.notes),
    )


def columns_of(records: Iterable[Record]) -> tuple[str, ...]:
    """All keys of the records, in order of first appearance."""
    return tuple(dict.fromkeys(key for record in records for key in record.values))
