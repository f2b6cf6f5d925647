"""What the annotations of a constructor ask for: classes, protocols and listed values.

An annotation `Annotated[Any, "package.Class", ...]` names classes that are too expensive to import: an object of any of
them is asked for.
"""

from __future__ import annotations

import inspect
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from stepladder.public import public_name


def kinds(annotation: Any) -> tuple[str, ...]:
    """The dotted names of the classes that `Annotated[Any, NAME, ...]` asks for; none for every other annotation."""
    notes = annotation.__metadata__ if get_origin(annotation) is Annotated else ()
    return tuple(note for note in notes if isinstance(note, str))


def is_kind(target: type, hint: Any) -> bool:
    """Whether objects of class `target` are what `hint` asks for; true where the hint allows any class.

    A class implements a protocol if it has the names of the protocol's members: no object is made to find out.
    """
    if hint is Any:
        return True
    if kinds(hint):
        return not set(kinds(hint)).isdisjoint(map(public_name, target.__mro__))
    if get_origin(hint) in (Union, types.UnionType):
        return any(is_kind(target, choice) for choice in get_args(hint))
    kind = get_origin(hint) or hint
    if not isinstance(kind, type) or kind is object:
        return True
    if not getattr(kind, "_is_protocol", False):
        return issubclass(target, kind)
    return members(kind) <= names_in(*target.__mro__)


def names_in(*classes: type) -> set[str]:
    """The names of attributes and methods that these classes define, without those of their bases."""
    return {name for each in classes for name in (*vars(each), *vars(each).get("__annotations__", ()))}


def members(protocol: type) -> set[str]:
    """The public names of a protocol's attributes and methods."""
    bases = [base for base in protocol.__mro__ if getattr(base, "_is_protocol", False) and base.__module__ != "typing"]
    return {name for name in names_in(*bases) if not name.startswith("_")}


def inner(hint: Any) -> Any:
    """The annotation of a mapping's values or a sequence's items; Any where the hint has none."""
    if get_origin(hint) in (Union, types.UnionType):
        found = [inner(choice) for choice in get_args(hint) if choice is not type(None)]
        return found[0] if len(found) == 1 else Any
    return get_args(hint)[-1] if get_args(hint) and isinstance(get_origin(hint), type) else Any


def hints_of(target: Any) -> dict[str, Any]:
    """The annotations of a constructor's arguments; empty where they can not be resolved without importing more."""
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
    """The values that an annotation lists, as a configuration writes them: of a Literal, true and false, null."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        names = {id(True): "true", id(False): "false", id(None): "null"}
        return [names.get(id(each), str(each)) for each in inside]
    if annotation is bool:
        return ["true", "false"]
    if origin in (Union, types.UnionType):
        found = [value for each in inside for value in choices_of(each)]
        return [*found, "null"] if found and type(None) in inside else found
    return []
