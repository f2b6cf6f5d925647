"""Reads parquet files into plain Python values that can be written as text or JSON.

pyarrow is imported at first use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepladder.dataset.accounts import FileFacts, Place
from stepladder.dataset.tables import Record, Table
from stepladder.errors import DataError

Convert = Callable[[Any], Any]


def read_parquet(data: bytes, name: str) -> Table:
    """Read a parquet file.

    Raises:
        DataError: The file is not parquet, two columns have the same name, or a value has no Python counterpart.
    """
    return of_arrow(_arrow_table(data, name), name, "parquet")


def schema_of(data: bytes, name: str) -> Any:
    """The Arrow schema of a parquet file, with its metadata."""
    return _arrow_table(data, name).schema


def _arrow_table(data: bytes, name: str) -> Any:
    import pyarrow
    from pyarrow import parquet

    # Arrow reads from a buffer of its own, not from the Python object. One of its threads may release the buffer while
    # Python shuts down. Releasing a Python object takes the interpreter's lock, which then ends that thread in the
    # middle of a destructor, and the process aborts ("terminate called without an active exception").
    owned = pyarrow.BufferOutputStream()
    owned.write(data)
    try:
        return parquet.ParquetFile(owned.getvalue()).read()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"The file is not parquet: {error}", name, "check how the file was written") from None


def of_arrow(table: Any, name: str, kind: str) -> Table:
    """A `pyarrow.Table` as a table of records."""
    names = table.column_names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"Two columns have the name '{twice[0]}'", name, "rename one")
    columns = [_values(table.column(column), column, name) for column in names]
    rows = zip(*columns, strict=True)
    records = tuple(Record(Place(name, n, "row"), dict(zip(names, row, strict=True))) for n, row in enumerate(rows, 1))
    return Table(name, tuple(names), records, (FileFacts(name, kind, len(records), tuple(names)),))


def _values(column: Any, title: str, name: str) -> list[Any]:
    """The values of a column.

    Raises:
        DataError: A value has no Python counterpart: a year after 9999, an unknown time zone, a map with a duplicate
            key.
    """
    import pyarrow

    try:
        values = list(column.to_pylist(maps_as_pydicts="strict"))
        convert = _conversion(column.type)
        return values if convert is None else [_converted(convert, value) for value in values]
    except (pyarrow.ArrowException, ValueError, OverflowError, LookupError) as error:
        what = f"The column '{title}' ({column.type}) of {name} contains a value that cannot be read: {error}"
        raise DataError(what, f"{name}, column {title}", "write it as text, or remove it") from None


def _converted(convert: Convert, value: Any) -> Any:
    return None if value is None else convert(value)


def _conversion(kind: Any) -> Convert | None:
    """The function that makes values of an Arrow type plain; None if they already are."""
    from pyarrow import BaseExtensionType, types

    if isinstance(kind, BaseExtensionType):
        return _of_extension
    if types.is_dictionary(kind) or types.is_run_end_encoded(kind):
        return _conversion(kind.value_type)
    if types.is_float16(kind) or types.is_float32(kind):
        return _shortest
    if types.is_temporal(kind):
        return str
    if (
        types.is_binary_view(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
    ):
        return _decoded
    if types.is_map(kind):
        return _of_map(_conversion(kind.key_type), _conversion(kind.item_type))
    if types.is_struct(kind):
        return _of_struct({field.name: inner for field in kind if (inner := _conversion(field.type)) is not None})
    if hasattr(kind, "value_type"):  # a list of any kind
        inner = _conversion(kind.value_type)
        return inner and (lambda values: [_converted(inner, value) for value in values])
    return None


def _of_extension(value: Any) -> Any:
    """A value of a type that Arrow does not define itself (UUIDs, JSON, tensors)."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return value if isinstance(value, str | bool | int | float | list | dict) else str(value)


def _of_struct(inner: dict[str, Convert]) -> Convert | None:
    if not inner:
        return None
    return lambda value: {key: _converted(inner[key], v) if key in inner else v for key, v in value.items()}


def _of_map(of_key: Convert | None, of_item: Convert | None) -> Convert | None:
    key, item = of_key or (lambda value: value), of_item or (lambda value: value)
    return lambda value: {str(key(k)): _converted(item, v) for k, v in value.items()}


def _shortest(value: Any) -> float:
    """The shortest decimal form of a half- or single-precision number: 0.1, not 0.10000000149011612."""
    import numpy as np

    return float(str(np.float32(value)))


def _decoded(value: bytes) -> str | bytes:
    """Decode bytes that are UTF-8 text. Other bytes are kept, and fail when they are used."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
