"""The identity of a built component: plain data that is hashed for keys.

The short form, of which keys are made, leaves out arguments that equal the constructor's default. The full form has all
arguments; it is stored in the folder and compared whenever the folder is reused, so that a changed default is noticed.
The identity of an object with a `fingerprint` method (weights: by content, not by path) is what that method returns.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from stepladder.config.build import Component
from stepladder.public import public_name
from stepladder.types import Plain


def digest(value: Any) -> str:
    """The first 128 bits of the SHA-256 of the canonical JSON of plain data, as 32 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def identity(component: Component, full: bool = False) -> Any:
    """The identity of a component. Two components of equal identity do the same."""
    if component.target is None:
        if component.items:
            return [identity(item, full) for item in component.items]
        if component.arguments:
            return {name: identity(argument, full) for name, argument in component.arguments.items()}
        return _plain(component.object)
    named: dict[str, Any] = {"is": public_name(component.target)}
    version = getattr(component.target, "version", None)
    if isinstance(version, int):
        named["version"] = version
    fingerprint = getattr(component.object, "fingerprint", None)
    if callable(fingerprint):
        return {**named, **fingerprint()}
    return {**named, **_arguments(component, full)}


def _arguments(component: Component, full: bool) -> Plain:
    found = {}
    for name, parameter in inspect.signature(component.target).parameters.items():
        given = component.arguments.get(name)
        if given is None:
            if full and parameter.default is not parameter.empty:
                found[name] = _plain(parameter.default)
        elif full or parameter.default is parameter.empty or _plain(given.object) != _plain(parameter.default):
            found[name] = identity(given, full)
    extra = {name: identity(a, full) for name, a in component.arguments.items() if name not in found}
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(component.target).parameters.values()):
        found.update(extra)
    return found


def _plain(value: Any) -> Any:
    """Plain data for any default of an argument."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(str(v) for v in value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if type(value).__module__ == "dataclasses":
        return "made anew"
    if inspect.isroutine(value) or inspect.isclass(value):
        return public_name(value)
    name, fields = public_name(type(value)), getattr(value, "__dataclass_fields__", None)
    return name if fields is None else {"is": name} | {field: _plain(getattr(value, field)) for field in fields}
