"""Infers a JSON schema from values, and puts the keys of a value in a schema's order.

An inferred schema bounds the length of every string and list, so that constrained generation ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LEAST_LENGTH = 64
LEAST_ITEMS = 8


def inferred(values: Sequence[Any]) -> dict[str, Any]:
    """The tightest plain schema that all `values` meet.

    Properties are in the order first seen, required where every object has them, and no others are allowed. Strings
    and lists may be twice as long as the longest seen (at least 64 characters, 8 items).
    """
    types = list(dict.fromkeys(_type(value) for value in values))
    if "number" in types:
        types = [t for t in types if t != "integer"]
    schema: dict[str, Any] = {"type": types[0] if len(types) == 1 else types} if types else {}
    if "string" in types:
        schema["maxLength"] = max([LEAST_LENGTH, *(2 * len(v) for v in values if isinstance(v, str))])
    if "array" in types:
        lists = [v for v in values if isinstance(v, list)]
        schema["maxItems"] = max([LEAST_ITEMS, *(2 * len(v) for v in lists)])
        items = [item for v in lists for item in v]
        if items:
            schema["items"] = inferred(items)
    if "object" in types:
        objects = [v for v in values if isinstance(v, dict)]
        names = list(dict.fromkeys(name for v in objects for name in v))
        schema["properties"] = {name: inferred([v[name] for v in objects if name in v]) for name in names}
        schema["required"] = [name for name in names if all(name in v for v in objects)]
        schema["additionalProperties"] = False
    return schema


def in_order(value: Any, schema: Any) -> Any:
    """The value with its keys in the order of the schema's properties, at every depth; other keys come after."""
    known = schema if isinstance(schema, Mapping) else {}
    if isinstance(value, dict):
        of = known.get("properties", {})
        names = [name for name in of if name in value] + [name for name in value if name not in of]
        return {name: in_order(value[name], of.get(name)) for name in names}
    if isinstance(value, list):
        return [in_order(item, known.get("items")) for item in value]
    return value


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
