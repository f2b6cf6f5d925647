"""Dataclasses to plain data and back: the one place that decides what a result looks like as JSON.

A field is written under its own name, or under the name in its metadata (`json`; None: it is not written at all).
`optional()` marks a field that is left out where it is None, `inline()` a mapping whose entries are written next to the
other fields.
"""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints, overload

from stepladder.errors import StoreError
from stepladder.io.files import read_json, write_text

T = TypeVar("T")


def optional() -> Any:
    """A field that is None by default, and is not written where it is None."""
    return field(default=None, metadata={"optional": True})


def inline() -> Any:
    """A mapping, empty by default, whose entries are written next to the other fields."""
    return field(default_factory=dict, metadata={"inline": True})


def to_plain(value: Any) -> Any:
    """What `json.dumps` takes: dataclasses and mappings as dicts, sequences as lists, paths as texts."""
    if is_dataclass(value):
        found: dict[str, Any] = {}
        for each in fields(value):
            content = getattr(value, each.name)
            name = _name(each)
            if each.metadata.get("inline"):
                found |= to_plain(content)
            elif name is not None and (content is not None or not each.metadata.get("optional")):
                found[name] = to_plain(content)
        return found
    if isinstance(value, Mapping):
        return {str(key): to_plain(each) for key, each in value.items()}
    if isinstance(value, Path):
        return str(value)
    return [to_plain(each) for each in value] if isinstance(value, list | tuple) else value


@overload
def from_plain(kind: type[T], data: Any, where: str) -> T: ...
@overload
def from_plain(kind: Any, data: Any, where: str) -> Any: ...
def from_plain(kind: Any, data: Any, where: str) -> Any:
    """The value that `to_plain` made `data` from. Entries that `kind` has no field for are ignored.

    Raises:
        StoreError: `data` is not what `kind` holds; `where` is the file that it comes from.
    """
    try:
        return _read(kind, data, "")
    except _MismatchError as error:
        what = f"The file is damaged, or another version of Stepladder wrote it: {error}"
        raise StoreError(what, where, "run its command again") from error


def write(path: Path, value: Any) -> None:
    """Write a value as a JSON file."""
    write_text(path, json.dumps(to_plain(value), indent=1, ensure_ascii=False))


def read(kind: type[T], path: Path) -> T | None:
    """The value in a JSON file; None where there is no such file or it is not JSON.

    Raises:
        StoreError: The file is JSON, and not what `kind` holds.
    """
    data = read_json(path)
    return None if data is None else from_plain(kind, data, str(path))


class _MismatchError(Exception):
    """Which part of the data is of another type."""


def _read(kind: Any, data: Any, place: str) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any or kind is object:
        return data
    if origin in (Union, types.UnionType):
        return _read_union(inner, data, place)
    if isinstance(kind, type) and is_dataclass(kind):
        return _read_dataclass(kind, data, place)
    if origin is Literal and data in inner:
        return data
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(data, Mapping):
        return {key: _read(inner[1], each, f"{place}.{key}") for key, each in data.items()}
    if isinstance(origin, type) and issubclass(origin, Sequence) and isinstance(data, list):
        whole = origin is tuple and inner[-1] is not Ellipsis
        if not whole or len(inner) == len(data):
            of = inner if whole else [inner[0]] * len(data)
            return tuple(
                _read(one, each, f"{place}[{at}]") for at, (one, each) in enumerate(zip(of, data, strict=True))
            )
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return data
    if kind in (str, bool, int, type(None)) and type(data) is kind:
        return data
    if kind is Path and isinstance(data, str):
        return Path(data)
    raise _MismatchError(f"{place.lstrip('.') or 'the whole'} is not of type {getattr(kind, '__name__', kind)}")


def _read_union(kinds: Sequence[Any], data: Any, place: str) -> Any:
    *others, last = sorted(kinds, key=lambda kind: kind is not type(None))  # the last one's error is what is reported
    for kind in others:
        try:
            return _read(kind, data, place)
        except _MismatchError:
            continue
    return _read(last, data, place)


def _read_dataclass(kind: type, data: Any, place: str) -> Any:
    if not isinstance(data, Mapping):
        raise _MismatchError(f"{place.lstrip('.') or 'the whole'} is not an object")
    hints, names = _hints(kind), {each.name: _name(each) for each in fields(kind)}
    given = {}
    for each in fields(kind):
        hint, name = hints[each.name], names[each.name]
        if each.metadata.get("inline"):
            given[each.name] = _read(hint, {k: v for k, v in data.items() if k not in names.values()}, place)
        elif name in data:
            given[each.name] = _read(hint, data[name], f"{place}.{name}")
        elif each.default is MISSING and each.default_factory is MISSING:
            raise _MismatchError(f"{f'{place}.{name}'.lstrip('.')} is missing")
    return kind(**given)


def _name(each: Field[Any]) -> str | None:
    name: str | None = each.metadata.get("json", each.name)
    return name


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
