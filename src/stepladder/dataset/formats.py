"""Reads csv, tsv, jsonl, json and parquet files, optionally gzip-compressed; the suffix selects the format.

A record that cannot be read carries its fault, so that the caller can stop or skip it.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepladder.dataset.accounts import FileFacts, Place
from stepladder.dataset.delimited import read_delimited
from stepladder.dataset.encodings import Text, decode
from stepladder.dataset.parquet import read_parquet
from stepladder.dataset.tables import Dialect, Record, Table, columns_of, joined
from stepladder.dataset.values import not_json
from stepladder.errors import DataError, did_you_mean

__all__ = ["Dialect", "FileFacts", "Record", "Table", "format_of", "joined", "read_table"]

GZIP, GZIP_MAGIC = ".gz", b"\x1f\x8b"


def read_table(path: Path, name: str, dialect: Dialect) -> Table:
    """Read a file.

    Args:
        path: The path.
        name: The file as messages name it.
        dialect: The user's settings.

    Raises:
        DataError: The file is missing, empty, broken, or of an unknown format.
    """
    if path.is_dir():
        example = Path(name) / "*.csv"
        raise DataError(f"{name} cannot be read: it is a directory", str(path), f"name its files, such as {example}")
    kind = format_of(path)
    if kind is None:
        ending = "".join(path.suffixes[-2:]) if path.suffix.lower() == GZIP else path.suffix
        to_do = f"give one of {' '.join(FORMATS)}, or one of these followed by {GZIP}"
        raise DataError(f"The format '{ending}' of {name} is not known", str(path), to_do)
    data = _decompress(_bytes(path, name), path, name)
    empty = DataError(f"The file {name} is empty", str(path), "give a file with rows")
    if not data:
        raise empty
    if kind == ".parquet":
        table = read_parquet(data, name)
    else:
        text = decode(data, name, dialect.encoding)
        if not any(line.strip() for line in text.lines):
            raise empty
        table = _TEXT_READERS[kind](text, name, dialect)
        if dialect.encoding is None and text.encoding != "utf-8":
            table = replace(table, notes=(*table.notes, _encoding_note(text, name)))
    if not table.records:
        raise DataError(f"The file {name} has no rows", str(path), "give a file with rows")
    return table


def format_of(path: Path) -> str | None:
    """The suffix of the format, without `.gz`; None for an unknown format."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == GZIP:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in FORMATS else None


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"There is no file {name}", str(path.absolute()), _alternatives(path)) from None
    except OSError as error:
        raise DataError(
            f"{name} cannot be read: {error.strerror}", str(path), "name a file that you may read"
        ) from error


def _alternatives(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no directory {path.parent} either; relative paths start at {Path.cwd()}"
    names = sorted(p.name for p in path.parent.iterdir() if format_of(p))
    return did_you_mean(path.name, names[:20]) if names else "there is no file of a known format in that directory"


def _decompress(data: bytes, path: Path, name: str) -> bytes:
    """Decompress gzip data, whatever the suffix is; other data is returned unchanged."""
    if not data.startswith(GZIP_MAGIC):
        if path.suffix.lower() == GZIP and data:
            raise DataError(
                f"{name} is not compressed by gzip", str(path), f"compress it, or remove {GZIP} from its name"
            )
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        what = f"{name} cannot be decompressed: {error}"
        raise DataError(what, str(path), "check that the file was copied or downloaded completely") from None


def _encoding_note(text: Text, name: str) -> str:
    word = next((word for line in text.lines for word in line.split() if not word.isascii()), "")
    sample = f" (for example: {word[:30]})" if text.guessed and word else ""
    return f"{name} is read with the encoding {text.encoding}{sample}; dataset.encoding sets another"


def _csv(text: Text, name: str, dialect: Dialect) -> Table:
    return read_delimited(text, name, dialect, ",")


def _tsv(text: Text, name: str, dialect: Dialect) -> Table:
    return read_delimited(text, name, dialect, "\t")


def _json_lines(text: Text, name: str, dialect: Dialect) -> Table:
    """One value per line, or one JSON document, as some programs write with this suffix."""
    if _is_document(text):
        table = _json(text, name, dialect)
        note = f"{name} contains one JSON document, not one object per line; its items are the rows"
        return replace(table, notes=(*table.notes, note))
    records = []
    for number, line in enumerate(text.lines, 1):
        if line.strip():
            fault, value = text.faults.get(number), None
            if fault is None:
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError) as error:
                    fault = f"not JSON: {not_json(error)}"
            records.append(_of_object(value, Place(name, number), fault))
    return _json_table(name, "jsonl", records, text)


def _json(text: Text, name: str, dialect: Dialect) -> Table:
    """A list of objects, a list under the key `data`, or one object per line."""
    for number, fault in text.faults.items():
        to_do = "save the file as UTF-8, or set dataset.encoding=NAME"
        raise DataError(f"The file is not {text.encoding.upper()}: {fault}", f"{name}, line {number}", to_do)
    try:
        value = json.loads("".join(text.lines))
    except json.JSONDecodeError as error:
        if _is_json(next(line for line in text.lines if line.strip())):
            table = _json_lines(text, name, dialect)
            note = f"{name} contains one JSON value per line; each is a row"
            return replace(table, notes=(*table.notes, note))
        to_do = "repair the file at that line"
        raise DataError(f"The file is not JSON: {error.msg}", f"{name}, line {error.lineno}", to_do) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"The file is not JSON: {not_json(error)}", name, "repair the file") from None
    items = value.get("data") if isinstance(value, dict) else value
    if not isinstance(items, list):
        there = f"; it has the keys {', '.join(map(str, list(value)[:10]))}" if isinstance(value, dict) else ""
        raise DataError(f"The file contains no list of rows{there}", name, 'give a list of objects, or {"data": [...]}')
    records = [_of_object(item, Place(name, n, "item")) for n, item in enumerate(items, 1)]
    return _json_table(name, "json", records, text)


def _is_document(text: Text) -> bool:
    """Whether a file is one JSON document over several lines or one array, instead of one value per line."""
    if text.faults:
        return False
    first, *others = (line for line in text.lines if line.strip())
    opens = first.lstrip()[0]
    if _is_json(first):
        return opens == "[" and not others
    return opens == "[" or (opens == "{" and _is_json("".join(text.lines)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _json_table(name: str, kind: str, records: list[Record], text: Text) -> Table:
    columns = columns_of(records)
    return Table(name, columns, tuple(records), (FileFacts(name, kind, len(records), columns, text.encoding),))


def _of_object(value: Any, place: Place, fault: str | None = None) -> Record:
    if fault is None and not isinstance(value, dict):
        fault = f"not an object with columns but a {type(value).__name__}"
    return Record(place, {} if fault else value, fault)


_TEXT_READERS: dict[str, Callable[[Text, str, Dialect], Table]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
}
FORMATS = (*_TEXT_READERS, ".parquet")
"""The supported suffixes."""
