"""Writes a table to a csv, jsonl or parquet file; the suffix selects the format.

Text stays text. Numbers and lists keep their type if the format supports it.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.errors import UserError
from stepladder.io.files import write_bytes

Columns = Mapping[str, Sequence[Any]]
"""The values of each column, by name."""


def check_destination(path: Path, source: Path) -> None:
    """Raises UserError if `path` has an unknown suffix, is a directory, or is the file `source`."""
    if path.suffix.lower() not in _WRITERS:
        what = f"The format '{path.suffix}' of {path.name} cannot be written"
        raise UserError(what, f"--to {path}", f"choose a file name that ends in {', '.join(_WRITERS)}")
    if path.is_dir():
        raise UserError("The output is a directory", f"--to {path}", "name a file")
    if path.exists() and source.exists() and path.samefile(source):
        raise UserError("The output would overwrite the input file", f"--to {path}", "choose another file name")


def write_table(path: Path, columns: Columns, typed: Path | None = None) -> None:
    """Write the file completely or not at all.

    Args:
        path: A path that ends in .csv, .jsonl or .parquet.
        columns: Columns of the same length.
        typed: A parquet file with the first of these columns, in the same order. A parquet output copies them with
            their types.
    """
    write_bytes(path, _WRITERS[path.suffix.lower()](columns, typed))


def _csv(columns: Columns, typed: Path | None) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_sound(name) for name in columns])
    writer.writerows(zip(*([_cell(value) for value in values] for values in columns.values()), strict=True))
    return stream.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return _sound(value) if isinstance(value, str) else _text(value)


def _json_lines(columns: Columns, typed: Path | None) -> bytes:
    rows = zip(*columns.values(), strict=True)
    return "".join(_text(dict(zip(columns, row, strict=True))) + "\n" for row in rows).encode()


def _text(value: Any) -> str:
    """A value as strict JSON. Dates and decimals are written as text."""
    if isinstance(value, str | bytes) or not isinstance(value, bool | int | float | Mapping | list | tuple):
        return json.dumps(value) if value is None else _sound(value if isinstance(value, str) else _plain(value))
    text = json.dumps(_strict(value), ensure_ascii=False)
    return text if _sound(text) == text else json.dumps(_strict(value))  # escaped: \ud800 is no character of UTF-8


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value if value is None or isinstance(value, str | bool | int | float) else _plain(value)


def _plain(value: Any) -> str:
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else str(value)


def _sound(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot encode, written as escapes."""
    return text.encode("utf-8", errors="backslashreplace").decode()


def _parquet(columns: Columns, typed: Path | None) -> bytes:
    import pyarrow
    from pyarrow import parquet

    given: list[Any] = list(parquet.ParquetFile(typed).read().columns) if typed else []
    arrays = [
        given[place] if place < len(given) else _array(list(values)) for place, values in enumerate(columns.values())
    ]
    stream = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_arrays(arrays, names=[_sound(name) for name in columns]), stream)
    return stream.getvalue()


def _array(values: Sequence[Any]) -> Any:
    """A typed column if one type holds every value exactly, otherwise a column of text."""
    import pyarrow

    if all(value is None for value in values):
        return pyarrow.array(values, pyarrow.string())
    try:
        made = pyarrow.array(values)
        if all(_same(value, back) for value, back in zip(values, made.to_pylist(), strict=True)):
            return made
        if all(value is None or isinstance(value, Mapping) for value in values):
            pairs = [None if value is None else list(value.items()) for value in values]
            return pyarrow.array(pairs, pyarrow.map_(pyarrow.string(), pyarrow.float64()))
    except (pyarrow.ArrowException, ValueError, TypeError, OverflowError):
        pass  # no single type holds all values
    return pyarrow.array([None if value is None else _cell(value) for value in values], pyarrow.string())


def _same(value: Any, back: Any) -> bool:
    return bool(value == back) or (isinstance(value, float) and math.isnan(value) and isinstance(back, float))


_WRITERS: Mapping[str, Callable[[Columns, Path | None], bytes]] = {
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".parquet": _parquet,
}
