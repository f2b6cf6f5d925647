"""Spaces in Hydra's grammar: what they may draw, and what is refused."""

from __future__ import annotations

import pytest

from stepladder.config.space import Choice, Numbers, parameters
from stepladder.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("choice(4, 8)", Choice((4, 8), ("4", "8"))),
        ("choice(4, 8, 4)", Choice((4, 8), ("4", "8"))),
        ("a,'b c'", Choice(("a", "b c"), ("a", "'b c'"))),
        ("choice(1,'1','null','true',x)", Choice((1, "1", "null", "true", "x"), ("1", "'1'", "'null'", "'true'", "x"))),
        ("choice(\"it's\",'b c')", Choice(("it's", "b c"), (r"'it\'s'", r"b\ c"))),
        ("null,true", Choice((None, True), ("null", "True"))),
        ("range(1, 4)", Numbers(1, 3, 1, whole=True)),
        ("range(0.1, 0.5, 0.1)", Numbers(0.1, 0.4, 0.1)),
        ("interval(0, 1)", Numbers(0.0, 1.0)),
        ("int(interval(2, 9))", Numbers(2, 9, 1, whole=True)),
        ("tag(log, interval(1e-5, 1e-3))", Numbers(1e-5, 1e-3, log=True)),
        ("tag(log, range(1, 65))", Numbers(1, 64, 1, log=True, whole=True)),
    ],
)
def test_the_grammar_says_what_may_be_drawn(text: str, domain: Choice | Numbers) -> None:
    (parameter,) = parameters({"+a.b": text})
    assert parameter.domain == domain
    assert parameter.name == "a.b"


def test_a_value_becomes_the_override_that_sets_it() -> None:
    lists, rate = parameters({"a": "choice([1,2],[3])", "training.learning_rate": "interval(1e-5, 1e-3)"})
    assert [lists.override(value) for value in lists.samples] == ["a=[1,2]", "a=[3]"]
    assert rate.override(1.5e-05) == "training.learning_rate=1.5e-05"
    assert (lists.size, rate.size) == (2, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("8", "leaves nothing to search"),
        ("choice(1, true)", "one value to Optuna"),
        ("interval(1, 0)", "is empty"),
        ("range(3, 3)", "is empty"),
        ("tag(log, interval(0, 1))", "has no logarithm"),
        ("tag(log, range(1, 9, 2))", "has no steps"),
        ([4, 8], "says no values to try"),
        ("choice(", "write choice(A, B)"),
    ],
)
def test_an_invalid_space_is_reported(text: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters({"a": text})
    assert told in str(caught.value)
