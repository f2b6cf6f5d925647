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
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from stepladder.config.annotations import is_kind, members
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
        has = {n for base in target.__mro__ for n in (*vars(base), *vars(base).get("__annotations__", ()))}
        found += [f"it has no '{name}'" for name in sorted(members(protocol) - has)]
        for name, wanted in _methods(protocol):
            own = inspect.getattr_static(target, name, None)
            if inspect.isfunction(own) and not _takes(own, wanted):
                takes, needs = (", ".join([*inspect.signature(f).parameters][1:]) for f in (own, wanted))
                found.append(f"its '{name}' takes ({takes}) and is called with ({needs})")
    return found


def checked(target: type, hint: Any) -> type:
    """A subclass whose methods check what they return against the protocol in `hint`; the class itself without one."""
    wanted = tuple(protocols(hint))
    return _checked(target, wanted) if wanted else target


@functools.cache
def _checked(target: type, wanted: tuple[type, ...]) -> type:
    own: dict[str, Any] = {
        "__module__": target.__module__,
        "__qualname__": target.__qualname__,
        "__doc__": target.__doc__,
    }
    for protocol in wanted:
        for name, method in _methods(protocol):
            returned = _returned(method)
            function = inspect.getattr_static(target, name, None)
            if inspect.isfunction(function) and returned is not None:
                own[name] = _checking(function, f"{target.__name__}.{name}", returned, protocol)
        for name, getter in _properties(protocol):
            attribute = inspect.getattr_static(target, name, None)
            returned = _returned(getter)
            if isinstance(attribute, property) and attribute.fget is not None and returned is not None:
                own[name] = property(_checking(attribute.fget, f"{target.__name__}.{name}", returned, protocol))
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
    """The value.

    Raises:
        UserError: Where it is not what the annotation asks for.
    """
    problem = mismatch(value, annotation)
    if problem:
        to_do = f"let it return {expected(annotation)} (protocol {public_name(protocol)})"
        verb = "is" if name.startswith("an item") else "returned"
        where = name.removeprefix("an item of ")
        raise UserError(f"{name} {verb} {problem}", where, to_do)
    return value


def mismatch(value: Any, annotation: Any) -> str:
    """How a value differs from an annotation (`None, expected a number`); empty where it fits."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return mismatch(value, inside[0])
    if origin in (Union, types.UnionType):
        problems = [mismatch(value, each) for each in inside]
        return "" if "" in problems else f"{_described(value)}, expected {expected(annotation)}"
    kind = origin or annotation
    if annotation is None or annotation is type(None):
        return "" if value is None else f"{_described(value)}, expected nothing"
    if origin is Literal:
        return "" if value in inside else f"{_described(value)}, expected {expected(annotation)}"
    if not isinstance(kind, type) or kind is object:
        return ""
    if not _is_a(value, kind):
        return f"{_described(value)}, expected {expected(annotation)}"
    return _inside(value, kind, inside)


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, numbers.Real)
    if kind is int:
        return isinstance(value, numbers.Integral)
    if kind.__name__ == "ndarray":
        return hasattr(value, "shape") or isinstance(value, numbers.Real)
    if getattr(kind, "_is_protocol", False):
        return is_kind(type(value), kind)
    if kind in (tuple, list) or (issubclass(kind, Sequence) and kind is not str):
        return (isinstance(value, Sequence | types.GeneratorType) and not isinstance(value, str)) or hasattr(
            value, "shape"
        )
    return isinstance(value, Set) if issubclass(kind, Set) else isinstance(value, kind)


def _inside(value: Any, kind: type, inside: tuple[Any, ...]) -> str:
    """The first item or field that does not fit."""
    if isinstance(value, list | tuple | Set) and inside and (len(inside) == 1 or inside[-1] is ...):
        for place, item in enumerate(value):
            problem = mismatch(item, inside[0]) if place < LOOKED_AT or not _fits_alone(item, inside[0]) else ""
            if problem:
                return f"a {type(value).__name__} whose item {place} is {problem}"
    fields = getattr(kind, "__dataclass_fields__", {})
    for name, hint in _hints(kind).items() if fields else ():
        problem = mismatch(getattr(value, name, None), hint) if name in fields else ""
        if problem:
            return f"a {kind.__name__} whose {name} is {problem}"
    return ""


def _fits_alone(item: Any, annotation: Any) -> bool:
    return not isinstance(annotation, type) or _is_a(item, annotation)


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


def _methods(protocol: type) -> Iterator[tuple[str, Any]]:
    for name in sorted(members(protocol)):
        method = inspect.getattr_static(protocol, name, None)
        if inspect.isfunction(method):
            yield name, method


def _properties(protocol: type) -> Iterator[tuple[str, Any]]:
    for name in sorted(members(protocol)):
        attribute = inspect.getattr_static(protocol, name, None)
        if isinstance(attribute, property):
            yield name, attribute.fget


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
    hints = _hints(method)
    if "return" in hints or not isinstance(getattr(method, "__annotations__", {}).get("return"), str):
        return hints.get("return")
    alone = types.FunctionType(method.__code__, method.__globals__)  # without the arguments that can not be resolved
    alone.__annotations__ = {"return": method.__annotations__["return"]}
    return _hints(alone).get("return")


def _hints(of: Any) -> Plain:
    try:
        return get_type_hints(of)
    except (NameError, TypeError, AttributeError):  # names that are imported for type checkers alone
        return {}
