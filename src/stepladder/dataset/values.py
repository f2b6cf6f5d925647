"""Converts values of csv, JSON and parquet files into text, lists and compact JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from stepladder.dataset.accounts import RowError
from stepladder.types import Plain

DEEPEST = 100
"""The largest nesting depth of a JSON answer, because schemas are inferred recursively."""


def text_of(value: Any) -> str:
    """A value as text: null is "", a list is joined with ", ", booleans and numbers are written as in JSON."""
    if isinstance(value, str):
        return _sound(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, Mapping):
        return compact(value)
    if isinstance(value, list | tuple):
        try:
            return ", ".join(text_of(item) for item in value)
        except RecursionError:
            raise RowError("a value is nested too deep") from None
    if isinstance(value, bytes):
        raise RowError(f"a value is bytes, not text: {value[:20]!r}")
    return str(value)


def text_in(values: Plain, column: str) -> str:
    """The text of a column's value, "" if there is none. Raises RowError with the name of the column."""
    try:
        return text_of(values.get(column))
    except RowError as error:
        raise RowError(f"{column}: {error}") from None


def list_of(value: Any, column: str) -> list[Any]:
    """A list, or a JSON list as text; null is an empty list."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise RowError(f"{column} is neither a list nor the JSON text of one") from None
    if value is None or value == "":
        return []
    if not isinstance(value, list | tuple):
        raise RowError(f"{column} is neither a list nor the JSON text of one")
    return list(value)


def listed(value: Any) -> list[Any] | None:
    """The items of a text that is a JSON list of texts, numbers and booleans; None for any other value."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return None
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return None
    if not isinstance(items, list) or any(isinstance(item, list | dict) for item in items):
        return None
    return items


def json_of(value: Any, column: str) -> str:
    """A JSON value, or JSON text, as compact text with the keys in their order."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{column} is not JSON: {not_json(error)}") from None
    if _is_deep(value):
        raise RowError(f"{column} is nested more than {DEEPEST} deep")
    return compact(value)


def not_json(error: ValueError | RecursionError) -> str:
    """The reason of an error of `json.loads`."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}"
    return "nested too deep" if isinstance(error, RecursionError) else "a number has too many digits"


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        inner = [v.values() if isinstance(v, Mapping) else v for v in level if isinstance(v, Mapping | list | tuple)]
        level = [item for items in inner for item in items]
    return any(isinstance(v, Mapping | list | tuple) for v in level)


def compact(value: Any) -> str:
    """JSON without unnecessary white space, with keys in their order and without ASCII escapes."""
    try:
        return _sound(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain))
    except RecursionError:
        raise RowError("a value is nested too deep") from None
    except (TypeError, ValueError) as error:
        raise RowError(f"a value cannot be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """A Decimal as a number. Raises TypeError for values that JSON cannot represent."""
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{value!r:.40} is of the type {type(value).__name__}")


def _sound(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError("a text contains a lone surrogate, which is not a character") from None
    return text
