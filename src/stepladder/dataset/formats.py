"""From a file to records: csv, tsv, jsonl, ndjson, json and parquet, chosen by the file's suffix.

Knows bytes, lines and quotes, and where each record stands; knows nothing of what columns mean. A record that can not
be read carries its fault, so that the caller may stop at it or skip it.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stepladder.dataset.accounts import Place
from stepladder.dataset.values import not_json
from stepladder.errors import DataError, did_you_mean

CSV_FIELD_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Dialect:
    """What csv and tsv files do not say of themselves.

    header: the names of the columns where there is no header line. quote: the quote character; `none`: quotes are text.
    """

    header: tuple[str, ...] | None = None
    quote: str | None = None


@dataclass(frozen=True)
class Record:
    """One row as it stands in the file, or the `fault` that keeps it from being read."""

    place: Place
    values: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Table:
    """The records of one file in their order, and every column that any of them has. `name` is what people call it."""

    name: str
    columns: tuple[str, ...]
    records: tuple[Record, ...]


def read_table(path: Path, name: str, dialect: Dialect) -> Table:
    """Raises DataError where the file as a whole can not be read: not there, empty, of an unknown format, broken."""
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"The format '{suffix}' of {name} is not known", str(path), f"give one of {' '.join(_READERS)}")
    data = _bytes(path, name)
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise DataError(f"The file {name} is empty", str(path), "give a file with rows")
    table = _READERS[suffix](data, name, dialect)
    if not table.records:
        raise DataError(f"The file {name} has no rows", str(path), "give a file with rows")
    return table


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {name}", str(path.absolute()), _beside(path)) from None
    except OSError as error:
        raise DataError(
            f"{name} can not be read: {error.strerror}", str(path), "name a file that you may read"
        ) from error


def _beside(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent} either; relative paths start at {Path.cwd()}"
    names = sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in _READERS)
    return did_you_mean(path.name, names[:20]) if names else "no file of a known format is in that folder"


def _lines(data: bytes) -> tuple[list[str], dict[int, str]]:
    """The lines with their ends, and what is wrong with those that are not UTF-8, by number."""
    offset = len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0
    lines, faults = [], {}
    for number, raw in enumerate(data[offset:].splitlines(keepends=True), 1):
        try:
            lines.append(raw.decode())
        except UnicodeDecodeError as error:
            lines.append(raw.decode(errors="replace"))
            byte, at = raw[error.start], offset + error.start
            faults[number] = f"byte 0x{byte:02x} at byte offset {at} of the file is not UTF-8"
        offset += len(raw)
    return lines, faults


def _separated(delimiter: str) -> Callable[[bytes, str, Dialect], Table]:
    def read(data: bytes, name: str, dialect: Dialect) -> Table:
        lines, faults = _lines(data)
        csv.field_size_limit(CSV_FIELD_LIMIT)
        if dialect.quote == "none":
            reader = csv.reader(lines, delimiter=delimiter, strict=True, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(lines, delimiter=delimiter, strict=True, quotechar=dialect.quote or '"')
        found = _numbered(reader, name)
        columns = dialect.header or _header(found, name, faults)
        return Table(name, columns, tuple(_csv_records(found, columns, name, faults)))

    return read


def _numbered(reader: Any, name: str) -> Iterator[tuple[range, list[str]]]:
    """Each row that is not blank, with the lines of the file that it stands on."""
    while True:
        first = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(
                f"A quote is not closed as it should be: {error}",
                f"{name}, line {first}",
                "close or double the quote; if quotes are plain text in this file, say dataset.quote=none",
            ) from None
        if cells:
            yield range(first, reader.line_num + 1), cells


def _header(found: Iterator[tuple[range, list[str]]], name: str, faults: Mapping[int, str]) -> tuple[str, ...]:
    where, columns = next(found)
    if where.start in faults:
        raise DataError(
            f"The header can not be read: {faults[where.start]}",
            f"{name}, line {where.start}",
            "save the file as UTF-8",
        )
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise DataError(
            f"Two columns have the name '{twice[0]}'",
            f"{name}, line {where.start}",
            "rename one; if the file has no header line, name its columns by dataset.header=[...]",
        )
    return tuple(columns)


def _csv_records(
    found: Iterable[tuple[range, list[str]]], columns: Sequence[str], name: str, faults: Mapping[int, str]
) -> Iterator[Record]:
    for where, cells in found:
        place = Place(name, where.start)
        undecodable = [faults[n] for n in where if n in faults] if faults else []
        if undecodable:
            yield Record(place, fault=undecodable[0])
        elif len(cells) != len(columns):
            yield Record(place, fault=f"{len(cells)} fields where {len(columns)} columns are ({', '.join(columns)})")
        else:
            yield Record(place, dict(zip(columns, cells, strict=True)))


def _json_lines(data: bytes, name: str, dialect: Dialect) -> Table:
    lines, faults = _lines(data)
    records = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            fault, value = faults.get(number), None
            if fault is None:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    fault = f"not JSON: {not_json(error)}"
            records.append(_of_object(value, Place(name, number), fault))
    return Table(name, _columns(records), tuple(records))


def _json(data: bytes, name: str, dialect: Dialect) -> Table:
    lines, faults = _lines(data)
    for number, fault in faults.items():
        raise DataError(f"The file is not UTF-8: {fault}", f"{name}, line {number}", "save the file as UTF-8")
    try:
        value = json.loads("".join(lines))
    except json.JSONDecodeError as error:
        hint = "if it has one object a line, give it the suffix .jsonl"
        raise DataError(f"The file is not JSON: {error.msg}", f"{name}, line {error.lineno}", hint) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"The file is not JSON: {not_json(error)}", name, "mend the file") from None
    items = value.get("data") if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise DataError("The file holds no list of rows", name, 'give a list of objects, or {"data": [...]}')
    records = [_of_object(item, Place(name, n, "item")) for n, item in enumerate(items, 1)]
    return Table(name, _columns(records), tuple(records))


def _parquet(data: bytes, name: str, dialect: Dialect) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(data)).read()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"The file is not parquet: {error}", name, "check how the file was written") from None
    names = table.column_names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"Two columns have the name '{twice[0]}'", name, "rename one")
    columns = [_python_values(table.column(column), column, name) for column in names]
    rows = zip(*columns, strict=True)
    records = tuple(Record(Place(name, n, "row"), dict(zip(names, row, strict=True))) for n, row in enumerate(rows, 1))
    return Table(name, tuple(names), records)


def _python_values(column: Any, title: str, name: str) -> list[Any]:
    """Raises DataError for what Python has no value for: days beyond the year 9999, zones that nobody knows."""
    import pyarrow

    try:
        return list(column.to_pylist())
    except (pyarrow.ArrowException, ValueError, OverflowError, LookupError) as error:
        what = f"The column '{title}' of {name} holds what can not be read: {error}"
        raise DataError(what, f"{name}, column {title}", "write it as text, or leave it out") from None


def _of_object(value: Any, place: Place, fault: str | None = None) -> Record:
    if fault is None and not isinstance(value, dict):
        fault = f"not an object with columns but a {type(value).__name__}"
    return Record(place, {} if fault else value, fault)


def _columns(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for record in records for key in record.values))


_READERS: dict[str, Callable[[bytes, str, Dialect], Table]] = {
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}
