"""Whether a plain value of a configuration fits a constructor's annotation.

Knows Python's typing; knows no configuration and no class of ours. Only plain values are judged: numbers, texts, truth
values, lists and mappings. Whether an object is of the class that is wanted is a matter of `isinstance`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def kinds(annotation: Any) -> tuple[str, ...]:
    """The dotted names of the classes that `Annotated[Any, NAME, ...]` asks for; none for every other annotation."""
    notes = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    return tuple(note for note in notes if isinstance(note, str))


def lineage(target: type) -> tuple[str, ...]:
    """The dotted names of a class and of all that it is made from."""
    return tuple(f"{base.__module__}.{base.__qualname__}" for base in target.__mro__)


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


def spoken(annotation: Any) -> str:
    """The annotation as a person would read it."""
    if annotation is type(None):
        return "null"
    if kinds(annotation):
        return " | ".join(name.rpartition(".")[2] for name in kinds(annotation))
    if get_origin(annotation) is Literal:
        return " | ".join(str(a) for a in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " | ".join(spoken(a) for a in get_args(annotation))
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


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
    return _members(kind) <= {
        name for base in target.__mro__ for name in (*vars(base), *vars(base).get("__annotations__", ()))
    }


def _members(protocol: type) -> set[str]:
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False) and base.__module__ != "typing"]
    names = {name for base in bases for name in (*vars(base), *vars(base).get("__annotations__", ()))}
    return {name for name in names if not name.startswith("_")}


def inner(hint: Any) -> Any:
    """What a mapping's values, or a sequence's items, are to be; Any where the hint does not say."""
    if get_origin(hint) in (Union, types.UnionType):
        found = [inner(choice) for choice in get_args(hint) if choice is not type(None)]
        return found[0] if len(found) == 1 else Any
    return get_args(hint)[-1] if get_args(hint) and isinstance(get_origin(hint), type) else Any
