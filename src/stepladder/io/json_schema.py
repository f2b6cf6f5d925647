"""Checks JSON values against a JSON schema: the one validator for a dataset's answers and for a model's.

Every schema is read as draft 2020-12, whatever its `$schema` names, so that data and metrics never disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from stepladder.errors import ConfigError, Fault


class SchemaValidator:
    """Checks values against one schema. Nothing outside of the schema is read.

    Raises:
        ConfigError: Where `schema` is no JSON schema, or refers to another file or address.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator, SchemaError

        for address in _outside_references(schema):
            what = f"it refers to '{address}', and no other file or address is read"
            raise ConfigError(Fault("dataset.task.schema", what, "write it into the schema: #/$defs/NAME"))
        try:
            Draft202012Validator.check_schema(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        except SchemaError as error:
            raise _no_schema(error.message) from None
        self._schema = schema

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        return Draft202012Validator(self._schema, registry=Registry())

    def fault(self, value: object) -> str:
        """The first reason why `value` does not meet the schema, with its path; empty where it does.

        Raises:
            ConfigError: Where the schema cannot be followed: a reference without a target, or without an end.
        """
        try:
            return self._fault(value)
        except RecursionError as error:
            raise _no_schema("it refers to itself without an end") from error

    def is_valid(self, value: object) -> bool:
        """Whether `value` meets the schema; one that is nested too deeply to follow does not."""
        try:
            return not self._fault(value)
        except RecursionError:
            return False

    def _fault(self, value: object) -> str:
        from referencing.exceptions import Unresolvable

        try:
            for error in self._validator.iter_errors(value):
                return f"the answer does not meet the schema at {error.json_path}: {error.message}"
        except Unresolvable as error:
            raise _no_schema(f"it refers to '{error.ref}', which is not in it") from error
        except re.error as error:
            raise _no_schema(f"a pattern is no regular expression: {error}") from error
        return ""


def _outside_references(schema: object) -> Iterator[str]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str) and not value.startswith("#"):
                yield value
            yield from _outside_references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _outside_references(value)


def _no_schema(what: str) -> ConfigError:
    return ConfigError(
        Fault("dataset.task.schema", f"this is no JSON schema: {what}", "see json-schema.org, draft 2020-12")
    )
