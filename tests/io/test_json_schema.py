"""One validator for the answers of a dataset and of a model."""

from __future__ import annotations

from typing import Any

import pytest

from stepladder.errors import ConfigError
from stepladder.io.json_schema import SchemaValidator

TREE = {"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_the_first_fault_has_its_path() -> None:
    validator = SchemaValidator({"type": "object", "properties": {"n": {"type": "integer"}}})
    assert validator.fault({"n": 1}) == ""
    assert validator.fault({"n": "1"}) == "the answer does not meet the schema at $.n: '1' is not of type 'integer'"


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-04/schema#"]
)
def test_every_schema_is_read_as_one_draft(draft: str) -> None:
    """`prefixItems` came with draft 2020-12; older drafts would ignore it."""
    validator = SchemaValidator({"$schema": draft, "prefixItems": [{"type": "integer"}]})
    assert validator.is_valid([1])
    assert not validator.is_valid(["a"])
    with pytest.raises(ConfigError, match="no JSON schema"):
        SchemaValidator({"$schema": draft, "items": [{"type": "integer"}]})


def test_a_value_nested_too_deeply_is_not_valid() -> None:
    validator = SchemaValidator(TREE)
    assert validator.is_valid(nested(5))
    assert not validator.is_valid(nested(5000))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "other.json"}, "no other file or address is read"),
        ({"$ref": "#/$defs/missing"}, "which is not in it"),
        ({"$ref": "#"}, "without an end"),
        ({"pattern": "("}, "no JSON schema"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_an_error(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SchemaValidator(schema).fault("text")
