"""JSON schemas: the tightest plain one that given values fit, and whether a value fits.

Knows JSON values alone. What is inferred bounds every text and list, so that writing under it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepladder.errors import ConfigError, Fault

LEAST_LENGTH = 64
LEAST_ITEMS = 8


def inferred(values: Sequence[Any]) -> dict[str, Any]:
    """A schema that all `values` fit.

    Properties stand in the order first seen, are required where every object has them, and there are no others; texts
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


def validator(schema: Mapping[str, Any]) -> Any:
    """Judges values by the schema. Raises ConfigError where the schema is none, or refers to what is not in it."""
    from jsonschema import Draft202012Validator, SchemaError
    from referencing import Registry

    for address in _references(schema):
        what = f"it refers to '{address}', and no other file or address is read"
        raise ConfigError(Fault("dataset.task.schema", what, "write it into the schema: #/$defs/NAME"))

    try:
        Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:
        raise _no_schema(error.message) from None
    return Draft202012Validator(schema, registry=Registry())


def _references(schema: Any) -> Iterator[str]:
    """Whatever a schema refers to outside of itself."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str) and not value.startswith("#"):
                yield value
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def fault_of(value: Any, judge: Any) -> str:
    """What keeps the value from fitting, if anything. Raises ConfigError where the schema can not be followed."""
    from referencing.exceptions import Unresolvable

    try:
        for error in judge.iter_errors(value):
            return f"the answer does not meet the schema at {error.json_path}: {error.message}"
    except Unresolvable as error:
        raise _no_schema(f"it refers to '{error.ref}', which is not in it") from error
    except RecursionError as error:
        raise _no_schema("it refers to itself without an end") from error
    except re.error as error:
        raise _no_schema(f"a pattern is no regular expression: {error}") from error
    return ""


def _no_schema(what: str) -> ConfigError:
    return ConfigError(
        Fault("dataset.task.schema", f"this is no JSON schema: {what}", "see json-schema.org, draft 2020-12")
    )
