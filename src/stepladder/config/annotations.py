"""Whether a plain value of a configuration fits a constructor's annotation.

Knows Python's typing; knows no configuration and no class of ours. Only plain values are judged: numbers, texts, truth
values, lists and mappings. Whether an object is of the class that is wanted is a matter of `isinstance`.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from stepladder.public import public_name


def kinds(annotation: Any) -> tuple[str, ...]:
    """The dotted names of the classes that `Annotated[Any, NAME, ...]` asks for; none for every other annotation."""
    notes = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    return tuple(note for note in notes if isinstance(note, str))


def lineage(target: type) -> tuple[str, ...]:
    """The public names of a class and of its base classes."""
    return tuple(public_name(base) for base in target.__mro__)


def fits(value: object, annotation: Any) -> bool:
    """True where it fits, and where the annotation says nothing that can be judged."""
    if kinds(annotation):
        return not isinstance(value, str | int | float | list | Mapping)
    origin = get_origin(annotation)
    if annotation is Any or annotation is object:
        return True
    if annotation is None or annotation is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in get_args(annotation))
    if origin is Literal:
        return value in get_args(annotation)
    kind = origin or annotation
    if not isinstance(kind, type):
        return True
    if getattr(kind, "_is_protocol", False):
        return not isinstance(value, str | int | float | list | Mapping | None)
    return _fits_class(value, kind, get_args(annotation))


def _fits_class(value: object, kind: type, inner: tuple[Any, ...]) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    if kind is int or kind is str:
        return isinstance(value, kind)
    if isinstance(value, Mapping):
        return issubclass(kind, Mapping) and (len(inner) != 2 or all(fits(v, inner[1]) for v in value.values()))
    if isinstance(value, list):
        items = kind in (list, tuple, set, frozenset) or issubclass(kind, Sequence | set)
        return items and (not inner or all(fits(v, inner[0]) for v in value))
    return isinstance(value, kind)


_WORDS = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
    object: "any value",
}
_PLURAL = {str: "texts", int: "whole numbers", float: "numbers", bool: "truth values"}


def in_words(annotation: Any) -> str:
    """An annotation in plain words, for a message that says what a key takes."""
    if annotation is None:
        return "null"
    if isinstance(annotation, type | type(Any)) and annotation in _WORDS:
        return _WORDS[annotation]
    if kinds(annotation):
        return _one_of([f"a {name.rpartition('.')[2]}" for name in kinds(annotation)])
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(inside[0])
    if origin is Literal:
        return _one_of([_as_written(each) for each in inside])
    if origin in (Union, types.UnionType):
        return _one_of([in_words(each) for each in inside])
    kind = origin or annotation
    if kind is Callable:
        return "the dotted name of a function (package.module.function)"
    if not isinstance(kind, type):
        return "any value"
    if issubclass(kind, Mapping):
        return f"keys with {_plural(inside[1])}" if len(inside) == 2 else "keys with values"
    if kind in (list, tuple, set, frozenset) or (issubclass(kind, Sequence | Set) and kind not in (str, bytes)):
        return f"a list of {_plural(inside[0])}" if inside else "a list"
    return f"a node whose _target_ is a {kind.__name__}"


def _plural(annotation: Any) -> str:
    if annotation in _PLURAL:
        return _PLURAL[annotation]
    words = in_words(annotation)
    return "values" if words == "any value" else f"values that are each {words}"


def _as_written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _one_of(words: Sequence[str]) -> str:
    *before, last = dict.fromkeys(words)
    return f"{', '.join(before)} or {last}" if before else last


def takes_text(annotation: Any) -> bool:
    """Whether a text, or a list of texts, is what the annotation asks for."""
    return fits("text", annotation) and not fits(1, annotation)


def takes_texts(annotation: Any) -> bool:
    return fits(["text"], annotation) and not fits([1], annotation)


def is_kind(target: type, hint: Any) -> bool:
    """Whether objects of class `target` are what `hint` asks for; true where the hint says nothing that can be judged.

    A protocol is judged by the names of its members, so that nothing has to be constructed to know.
    """
    if hint is Any:
        return True
    if kinds(hint):
        return not set(kinds(hint)).isdisjoint(lineage(target))
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_kind(target, choice) for choice in get_args(hint))
    kind = get_origin(hint) or hint
    if not isinstance(kind, type) or kind is object:
        return True
    if not getattr(kind, "_is_protocol", False):
        return issubclass(target, kind)
    return members(kind) <= {
        name for base in target.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", ()))
    }


def members(protocol: type) -> set[str]:
    """The names that a protocol asks for."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False) and base.__module__ != "typing"]
    names = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    return {name for name in names if not name.startswith("_")}


def inner(hint: Any) -> Any:
    """What a mapping's values, or a sequence's items, are to be; Any where the hint does not say."""
    if get_origin(hint) in (Union, types.UnionType):
        found = [inner(choice) for choice in get_args(hint) if choice is not type(None)]
        return found[0] if len(found) == 1 else Any
    return get_args(hint)[-1] if get_args(hint) and isinstance(get_origin(hint), type) else Any


def hints_of(target: Any) -> dict[str, Any]:
    """The constructor's annotations; empty where they can not be resolved without importing more."""
    constructor = target.__init__ if inspect.isclass(target) else target
    try:
        found = get_type_hints(constructor, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}
    return {
        name: hint if kinds(hint) or get_origin(hint) is not Annotated else get_args(hint)[0]
        for name, hint in found.items()
    }


def choices_of(annotation: Any) -> list[str]:
    """The values that an annotation lists, as a configuration writes them: of a Literal, of a truth value, null."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return choices_of(inside[0])
    if origin is Literal:
        return [_as_written(each) for each in inside]
    if annotation is bool:
        return ["true", "false"]
    if origin in (Union, types.UnionType):
        found = [value for each in inside for value in choices_of(each)]
        return [*found, "null"] if found and type(None) in inside else found
    return []
