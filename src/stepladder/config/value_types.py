"""Checks plain values against annotations with pydantic, in strict mode: "4" is not 4, and true is not 1.

Only values are checked here. Whether a class is what an annotation asks for is decided in `annotations`, before an
object of it is built.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from stepladder.config.annotations import kinds
from stepladder.config.quoting import shell_word
from stepladder.errors import Fault

_SCALARS = (Any, None, type(None), bool, int, float, str)


def fits(value: object, annotation: Any) -> bool:
    """Whether a value is what an annotation asks for; true where the annotation says nothing."""
    return not _errors(value, annotation)


def expected(annotation: Any) -> str:
    """What an annotation asks for, for a message: `a valid integer or null`."""
    words = dict.fromkeys(_words(error) for error in _errors(_Nothing(), annotation))
    null = ["null"] if words and fits(None, annotation) else []
    return " or ".join([*words, *null]) or "any value"


def value_faults(value: object, annotation: Any, key: str) -> list[Fault]:
    """One fault for each key whose value is not what the annotation asks for. `key` is the key of `value`."""
    found: dict[str, tuple[object, dict[str, None]]] = {}
    for error in _errors(value, annotation):
        where, at, words = key, value, _words(error)
        for part in error["loc"]:
            if isinstance(at, list) and isinstance(part, int):
                words = f"a list of values that are each {words}"
                break
            if isinstance(at, Mapping) and part in at:  # else pydantic's name for one type of a union
                where, at = f"{where}.{part}", at[part]
        found.setdefault(where, (at, {}))[1][words] = None
    if key in found and fits(None, annotation):
        found[key][1]["null"] = None
    return [
        Fault(where, f"{as_written(at)} does not fit", f"it takes {' or '.join(words)}{_as_text(at, words, where)}")
        for where, (at, words) in found.items()
    ]


def as_written(value: object) -> str:
    """A value as a configuration has it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, list):
        return f"[{', '.join(map(as_written, value))}]"
    return repr(value) if isinstance(value, str | int | float | Mapping) else f"a {type(value).__name__}"


class _Nothing:
    """Fits no annotation that says anything."""


def _errors(value: object, annotation: Any) -> list[ErrorDetails]:
    try:
        _adapter(annotation).validate_python(value)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_plain(annotation), config=ConfigDict(strict=True))


def _plain(annotation: Any) -> Any:
    """The annotation in terms of values that a configuration has: every collection is a list, an object is a node."""
    if names := kinds(annotation):
        return _node(names) | None
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(inside[0])
    if annotation in _SCALARS or origin is Literal:
        return annotation
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_plain, inside))]  # noqa: UP007 - the members are only known here
    kind = origin or annotation
    if kind is Callable:
        return Annotated[Any, AfterValidator(_check_function)]
    if not isinstance(kind, type) or kind is object:
        return Any
    if issubclass(kind, Mapping):
        return dict[Any, _plain(inside[1]) if len(inside) == 2 else Any]  # type: ignore[misc]
    if issubclass(kind, Collection) or kind is Iterable:
        return list[_plain(inside[0]) if inside else Any]  # type: ignore[misc]
    return _node([kind.__name__])


def _node(names: Collection[str]) -> Any:
    *before, last = dict.fromkeys(name.rpartition(".")[2] for name in names)
    listed = f"{', '.join(before)} or {last}" if before else last

    def check(value: object) -> object:
        if value is None or isinstance(value, str | int | float | list | Mapping | _Nothing):
            raise PydanticCustomError("node", "Input should be a node whose _target_ is a {listed}", {"listed": listed})
        return value

    return Annotated[Any, AfterValidator(check)]


def _check_function(value: object) -> object:
    if not callable(value) and not isinstance(value, str):
        raise PydanticCustomError("function", "Input should be the dotted name of a function (package.module.function)")
    return value


def _words(error: ErrorDetails) -> str:
    return error["msg"].removeprefix("Input should be ")


def _as_text(value: object, words: Mapping[str, None], key: str) -> str:
    """What to type where only the quotes of a string are missing."""
    if isinstance(value, bool | int | float) and "a valid string" in words:
        return f"; as a text: {shell_word(key, as_written(value))}"
    if isinstance(value, list) and any("each a valid string" in each for each in words):
        texts = ",".join(f"'{as_written(each)}'" for each in value)
        return f'; as texts: "{key}=[{texts}]"'
    return ""
