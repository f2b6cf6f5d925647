"""Checks a user's classes against the protocol that their place in the configuration asks for.

mypy checks our own classes. A class under `--trust` is checked for its methods when it is bound, and for what they
return while it is used, so that a value of the wrong type is reported with the class and the method that returned it.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stepladder.config.annotations import is_kind, members, names_in
from stepladder.errors import UserError
from stepladder.public import public_name
from stepladder.types import Plain

LOOKED_AT = 20
"""Items of a list whose fields are checked; of the others only the type is."""


def protocols(hint: Any) -> list[type]:
    """The protocols in an annotation."""
    if get_origin(hint) in (Union, types.UnionType):
        return [each for choice in get_args(hint) for each in protocols(choice)]
    return [hint] if isinstance(hint, type) and getattr(hint, "_is_protocol", False) else []


def shortcomings(target: type, hint: Any) -> list[str]:
    """What a class lacks of the protocol in `hint`: methods, attributes, arguments of a method."""
    found: list[str] = []
    for protocol in protocols(hint)[:1]:
        found += [f"it has no '{name}'" for name in sorted(members(protocol) - names_in(*target.__mro__))]
        for name, wanted in _declared(protocol):
            own = inspect.getattr_static(target, name, None)
            if inspect.isfunction(own) and inspect.isfunction(wanted) and not _takes(own, wanted):
                takes, needs = (", ".join([*inspect.signature(f).parameters][1:]) for f in (own, wanted))
                found.append(f"its '{name}' takes ({takes}) and is called with ({needs})")
    return found


def checked(target: type, hint: Any) -> type:
    """A subclass whose methods check what they return against the protocol in `hint`; the class itself without one."""
    wanted = tuple(protocols(hint))
    return _checked(target, wanted) if wanted else target


@functools.cache
def _checked(target: type, wanted: tuple[type, ...]) -> type:
    own: dict[str, Any] = {name: getattr(target, name) for name in ("__module__", "__qualname__", "__doc__")}
    for protocol in wanted:
        for name, declared in _declared(protocol):
            attribute, is_property = inspect.getattr_static(target, name, None), isinstance(declared, property)
            function = getattr(attribute, "fget", None) if is_property else attribute
            returned = _returned(declared.fget if is_property else declared)
            if inspect.isfunction(function) and returned is not None:
                checking = _checking(function, f"{target.__name__}.{name}", returned, protocol)
                own[name] = property(checking) if is_property else checking
    try:
        return type(target)(target.__name__, (target,), own)
    except TypeError:  # a class that allows no subclass
        return target


def _checking(function: Callable[..., Any], name: str, returned: Any, protocol: type) -> Callable[..., Any]:
    @functools.wraps(function)
    def checking(*arguments: Any, **named: Any) -> Any:
        value = function(*arguments, **named)
        if get_origin(returned) is Iterator and isinstance(value, Iterable) and not isinstance(value, str | Mapping):
            return (_sound(each, get_args(returned)[0], f"an item of {name}", protocol) for each in value)
        return _sound(value, returned, name, protocol)

    return checking


def _sound(value: Any, annotation: Any, name: str, protocol: type) -> Any:
    """The value, if it is what the annotation asks for."""
    if problem := mismatch(value, annotation):
        where = name.removeprefix("an item of ")
        to_do = f"let it return {expected(annotation)} (protocol {public_name(protocol)})"
        raise UserError(f"{name} {'returned' if where == name else 'is'} {problem}", where, to_do)
    return value


def mismatch(value: Any, annotation: Any) -> str:
    """How a value differs from an annotation (`None, expected a number`); empty where it fits."""
    origin, inside = get_origin(annotation), get_args(annotation)
    kind = type(None) if annotation is None else origin or annotation
    if origin in (Union, types.UnionType):
        fits = any(not mismatch(value, each) for each in inside)
    elif origin is Literal:
        fits = value in inside
    elif not isinstance(kind, type) or kind is object:
        return ""
    elif _is_a(value, kind):
        return _inside(value, kind, inside)
    else:
        fits = False
    wanted = "nothing" if kind is type(None) else expected(annotation)
    return "" if fits else f"{_described(value)}, expected {wanted}"


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, numbers.Real)
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind.__name__ == "ndarray":
        return hasattr(value, "shape") or isinstance(value, numbers.Real)
    if getattr(kind, "_is_protocol", False):
        return is_kind(type(value), kind)
    if issubclass(kind, Sequence) and kind is not str:
        is_sequence = isinstance(value, Sequence | types.GeneratorType) and not isinstance(value, str)
        return is_sequence or hasattr(value, "shape")
    return isinstance(value, Set) if issubclass(kind, Set) else isinstance(value, kind)


def _inside(value: Any, kind: type, inside: tuple[Any, ...]) -> str:
    """The first item or field that does not fit."""
    if isinstance(value, list | tuple | Set) and inside and (len(inside) == 1 or inside[-1] is ...):
        for place, item in enumerate(value):
            suspect = place < LOOKED_AT or (isinstance(inside[0], type) and not _is_a(item, inside[0]))
            if suspect and (problem := mismatch(item, inside[0])):
                return f"a {type(value).__name__} whose item {place} is {problem}"
    fields = getattr(kind, "__dataclass_fields__", {})
    for name, hint in _hints(kind).items() if fields else ():
        if name in fields and (problem := mismatch(getattr(value, name, None), hint)):
            return f"a {kind.__name__} whose {name} is {problem}"
    return ""


def expected(annotation: Any) -> str:
    """The words for an annotation in a message."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(expected(each) for each in inside)
    if origin is Literal:
        return " or ".join(map(str, inside))
    if annotation is type(None) or annotation is None:
        return "None"
    kind = origin or annotation
    name = {str: "text", float: "number", int: "whole number", bool: "truth value"}.get(kind) or kind.__name__
    if inside and kind is Iterator:
        return f"one {expected(inside[0]).partition(' ')[2]} after the other"
    if inside and isinstance(kind, type) and not issubclass(kind, Mapping) and kind.__name__ != "ndarray":
        return f"a {kind.__name__.lower()} with {expected(inside[0])} per item"
    return "an array" if name == "ndarray" else f"a {name}"


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"the text {value[:30]!r}" if isinstance(value, str) else f"a {type(value).__name__}"


def _declared(protocol: type) -> list[tuple[str, Any]]:
    """The methods and properties of a protocol."""
    found = [(name, inspect.getattr_static(protocol, name, None)) for name in sorted(members(protocol))]
    return [(name, each) for name, each in found if inspect.isfunction(each) or isinstance(each, property)]


def _takes(own: Any, wanted: Any) -> bool:
    """Whether a method can be called like the protocol's; arguments with a default there are passed by name."""
    given = [p for p in list(inspect.signature(wanted).parameters.values())[1:] if p.kind is not p.VAR_KEYWORD]
    by_place = [p for p in given if p.default is p.empty]
    try:
        inspect.signature(own).bind(None, *by_place, **{p.name: None for p in given if p.default is not p.empty})
    except TypeError:
        return False
    return True


def _returned(method: Any) -> Any:
    """The annotation of a method's return value; None without one."""
    alone = types.FunctionType(method.__code__, method.__globals__)  # without arguments that can not be resolved
    alone.__annotations__ = {name: hint for name, hint in method.__annotations__.items() if name == "return"}
    return _hints(alone).get("return")


def _hints(of: Any) -> Plain:
    try:
        return get_type_hints(of)
    except (NameError, TypeError, AttributeError):  # names that are imported for type checkers alone
        return {}
