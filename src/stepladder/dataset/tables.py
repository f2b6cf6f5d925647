"""A file of rows after reading: records with their places, the columns, and what was found out about the file.

Depends on nothing but `accounts`; every reader of a format returns a `Table`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepladder.dataset.accounts import FileFacts, Place
from stepladder.errors import DataError


@dataclass(frozen=True)
class Dialect:
    """What the user says about a text file; None is detected, or is the format's own default.

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
    """One row of a file, or the `fault` that keeps it from being read."""

    place: Place
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Table:
    """The records of one or several files in their order.

    Attributes:
        name: How messages name the table.
        columns: Every column of a file; of several files the columns that all of them have.
        records: The rows.
        files: What is known about each file.
        notes: What was detected or dropped, one sentence each.
    """

    name: str
    columns: tuple[str, ...]
    records: tuple[Record, ...]
    files: tuple[FileFacts, ...] = ()
    notes: tuple[str, ...] = ()


def joined(tables: Sequence[Table], name: str) -> Table:
    """Several tables as one, in their order.

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
    """Every key that a record has, in the order of first appearance."""
    return tuple(dict.fromkeys(key for record in records for key in record.values))
