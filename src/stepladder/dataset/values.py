"""From one value of a row to text, lists and compact JSON.

Knows values as csv, JSON and parquet bring them; knows nothing of columns or rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from stepladder.dataset.accounts import RowError

DEEPEST = 100
"""How deep lists and objects of a JSON answer may nest: what reads a schema off them goes down step by step."""


def text_of(value: Any) -> str:
    """A value as text: nothing at all is "", a list is joined by ", ", true and numbers are as in JSON."""
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


def text_in(values: Mapping[str, Any], column: str) -> str:
    """The text of a column's value, "" where there is none. Raises RowError, which names the column."""
    try:
        return text_of(values.get(column))
    except RowError as error:
        raise RowError(f"{column}: {error}") from None


def list_of(value: Any, column: str) -> list[Any]:
    """A list, or the text of a JSON list; nothing is the empty list."""
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
    """The items of a text that is a JSON list of texts, numbers and truth values; None for any other value."""
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
    """A JSON value, or its text, as compact text in its own key order."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{column} is not JSON: {not_json(error)}") from None
    if _is_deep(value):
        raise RowError(f"{column} is nested more than {DEEPEST} deep")
    return compact(value)


def not_json(error: ValueError | RecursionError) -> str:
    """Why `json.loads` did not read a text."""
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
    """JSON without needless white space, keys in their own order, everything readable as it is."""
    try:
        return _sound(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain))
    except RecursionError:
        raise RowError("a value is nested too deep") from None
    except (TypeError, ValueError) as error:
        raise RowError(f"a value can not be written as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """A decimal number as JSON has it. Raises TypeError for what JSON has no value for."""
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{value!r:.40} is of the type {type(value).__name__}")


def _sound(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise RowError("a text holds half of a surrogate pair, which is no character") from None
    return text
