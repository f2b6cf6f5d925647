"""Reads csv and tsv files: detects the delimiter and the header, and records the line of each row.

Works on decoded lines and returns a `Table`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from stepladder.dataset.accounts import FileFacts, Place, delimiter_name
from stepladder.dataset.encodings import Text
from stepladder.dataset.tables import Dialect, Record, Table
from stepladder.errors import DataError

DELIMITERS = (",", ";", "\t", "|")
"""Delimiters that are detected, in order of preference after the format's own."""

FIELD_LIMIT = 2**31 - 1
SAMPLE = 1000
"""Number of rows used to detect the delimiter."""

_EXCEL = re.compile(r'"?sep=(.)"?\s*')
"""A first line that sets the delimiter for Excel."""


@dataclass(frozen=True)
class _Row:
    """The fields of a row and the lines of the file that it is on."""

    lines: range
    cells: Sequence[str]


def read_delimited(text: Text, name: str, dialect: Dialect, usual: str) -> Table:
    """Read a csv or tsv file.

    Args:
        text: The decoded file.
        name: The file as messages name it.
        dialect: The user's settings.
        usual: The delimiter of the format, which is preferred.

    Raises:
        DataError: A quote is not closed, or the column names cannot be used.
    """
    csv.field_size_limit(FIELD_LIMIT)
    lines, named = text.lines, _EXCEL.fullmatch(text.lines[0]) if text.lines else None
    delimiter = dialect.delimiter or (named[1] if named else None)
    if named:
        lines = ["\n", *lines[1:]]
    if delimiter is None:
        delimiter = _detected(lines, dialect, usual)
    rows = list(_rows(lines, delimiter, dialect, name))
    blank = _blank_at_the_end(rows)
    rows = rows[: len(rows) - blank]
    if not rows:
        raise DataError(f"The file {name} has no rows", name, "give a file with rows")
    if dialect.header is not None:
        columns: tuple[str, ...] = dialect.header
        _refuse_header_line(rows[0], columns, name)
    else:
        columns, rows = _header(rows[0], name, text.faults), rows[1:]
    fitted, cut = _fitted(rows, columns)
    names, kept, dropped = _named(columns, fitted)
    records = tuple(_records(fitted, names, kept, name, text.faults))
    facts = FileFacts(
        name,
        "tsv" if usual == "\t" else "csv",
        len(records),
        tuple(names[place] for place in kept),
        text.encoding,
        delimiter,
        header_line=dialect.header is None,
    )
    notes = []
    if delimiter != usual and dialect.delimiter is None:
        notes.append(f"{name} is read with the delimiter {delimiter_name(delimiter)}; dataset.delimiter sets another")
    if dropped:
        notes.append(f"{name}: {_count(dropped, 'unnamed empty column')} dropped")
    if blank:
        notes.append(f"{name}: {_count(blank, 'row')} without any value at the end of the file dropped")
    if cut:
        notes.append(f"{name}: empty fields after the last column dropped in {_count(cut, 'row')}")
    return Table(name, facts.columns, records, (facts,), tuple(notes))


def _blank_at_the_end(rows: Sequence[_Row]) -> int:
    """The number of empty rows at the end, as spreadsheets write them."""
    count = 0
    while count < len(rows) and not any(cell.strip() for cell in rows[-1 - count].cells):
        count += 1
    return count


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _reader(lines: Iterable[str], delimiter: str, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Each row with the number of its last line. Raises csv.Error."""
    if dialect.quote == "none":
        found = csv.reader(lines, delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE)
    else:
        found = csv.reader(lines, delimiter=delimiter, strict=True, quotechar=dialect.quote or '"')
    for cells in found:
        yield found.line_num, cells


def _rows(lines: Sequence[str], delimiter: str, dialect: Dialect, name: str) -> Iterator[_Row]:
    last, found = 0, _reader(lines, delimiter, dialect)
    while True:
        try:
            end, cells = next(found)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"A quote is not closed as it should be: {error}",
                f"{name}, line {last + 1}",
                "close or double the quote; if quotes are plain text in this file, set dataset.quote=none",
            ) from None
        if cells:
            yield _Row(range(last + 1, end + 1), cells)
        last = end


def _detected(lines: Sequence[str], dialect: Dialect, usual: str) -> str:
    """The delimiter with which the most rows have as many fields as the header, if that is more than one."""

    def share(delimiter: str) -> float:
        widths = []
        try:
            for _, cells in _reader(lines, delimiter, dialect):
                if cells:
                    widths.append(len(cells))
                if len(widths) == SAMPLE:
                    break
        except csv.Error:
            pass  # the rows before the broken quote decide; the quote is reported when the file is read
        wanted = len(dialect.header) if dialect.header else widths[0] if widths else 0
        return widths.count(wanted) / len(widths) if widths and wanted > 1 else 0.0

    candidates = [usual, *(d for d in DELIMITERS if d not in (usual, dialect.quote))]
    return max(candidates, key=share)  # the first of equals


def _header(row: _Row, name: str, faults: Mapping[int, str]) -> tuple[str, ...]:
    undecodable = next((faults[line] for line in row.lines if line in faults), None)
    where = f"{name}, line {row.lines.start}"
    if undecodable:
        to_do = "save the file as UTF-8, or give its encoding by dataset.encoding=NAME"
        raise DataError(f"The header cannot be read: {undecodable}", where, to_do)
    columns = tuple(cell.strip() for cell in row.cells)
    twice = sorted({c for c in columns if c and columns.count(c) > 1})
    if twice:
        raise DataError(
            f"Two columns have the name '{twice[0]}'",
            where,
            "rename one; if the file has no header line, name its columns by dataset.header=[...]",
        )
    return columns


def _refuse_header_line(row: _Row, columns: Sequence[str], name: str) -> None:
    """Raises DataError if the first row contains exactly the names in `dataset.header`, in any order."""
    there = sorted(cell.strip().casefold() for cell in row.cells if cell.strip())
    if there == sorted(column.strip().casefold() for column in columns):
        raise DataError(
            "The first line is the header you name: dataset.header is for files without a header line",
            f"{name}, line {row.lines.start}",
            "remove dataset.header (dataset.header=null); the columns are read from that line",
        )


def _fitted(rows: Sequence[_Row], columns: Sequence[str]) -> tuple[list[_Row], int]:
    """Pad or cut rows to the number of columns, if only empty or unnamed fields are missing or surplus.

    Returns:
        The rows, and in how many of them empty fields were cut off.
    """
    named = max((place for place, column in enumerate(columns) if column), default=-1) + 1
    fitted, cut = [], 0
    for row in rows:
        width = len(row.cells)
        if width > len(columns) and not any(cell.strip() for cell in row.cells[len(columns) :]):
            row, cut = replace(row, cells=row.cells[: len(columns)]), cut + 1
        elif named <= width < len(columns):
            row = replace(row, cells=[*row.cells, *[""] * (len(columns) - width)])
        fitted.append(row)
    return fitted, cut


def _named(columns: Sequence[str], rows: Sequence[_Row]) -> tuple[list[str], list[int], int]:
    """Name every column. Returns the names, the columns to keep, and the number of dropped (unnamed and empty) ones."""
    kept = [
        place
        for place, column in enumerate(columns)
        if column or any(len(row.cells) > place and row.cells[place].strip() for row in rows)
    ]
    if not kept:
        kept = list(range(len(columns)))
    names = [column or f"column {place}" for place, column in enumerate(columns, 1)]
    return names, kept, len(columns) - len(kept)


def _records(
    rows: Iterable[_Row], names: Sequence[str], kept: Sequence[int], name: str, faults: Mapping[int, str]
) -> Iterator[Record]:
    for row in rows:
        place = Place(name, row.lines.start)
        undecodable = [faults[line] for line in row.lines if line in faults] if faults else []
        if undecodable:
            yield Record(place, fault=undecodable[0])
        elif len(row.cells) != len(names):
            listed = ", ".join(names)
            yield Record(place, fault=f"{len(row.cells)} fields where {len(names)} columns are ({listed})")
        else:
            yield Record(place, {names[column]: row.cells[column] for column in kept})
