"""From the dotted name in a `_target_` to the class it names, as far as a configuration is trusted.

Knows names and modules; builds nothing.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from stepladder.errors import Fault

TRUSTED = ("stepladder", "peft", "torch.optim", "optuna")
"""Where a target may stand without the user's word (`--trust PREFIX`)."""


def stands_under(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def is_light(name: str) -> bool:
    """Whether looking the name up imports nothing heavy: our own, or imported before."""
    return name.split(".")[0] == "stepladder" or name.split(".")[0] in sys.modules


def resolve(name: object, key: str, trust: Sequence[str] = (), light: bool = False) -> Any | Fault:
    """The object that `name` stands for, or the fault; with `light` None where that would import a heavy package.

    The written name is checked before anything is imported, and the object's own module after: an alias in a trusted
    module does not make a stranger trusted.
    """
    allowed = (*TRUSTED, *trust)
    if not isinstance(name, str) or not all(part.isidentifier() and part[:2] != "__" for part in name.split(".")):
        return Fault(key, f"'{name}' is no dotted name", "write package.module.Name")
    refusal = Fault(
        key,
        f"the target {name} is outside the trusted prefixes ({', '.join(allowed)})",
        f"if you trust that code, say --trust {name.split('.')[0]}",
    )
    if not stands_under(name, allowed):
        return refusal
    if light and not is_light(name):
        return None
    found = _look_up(name, key)
    if isinstance(found, Fault):
        return found
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or not stands_under(module, allowed):
        return refusal
    if not callable(found):
        return Fault(key, f"{name} is not a class or function", "name a class")
    return found


def _look_up(name: str, key: str) -> Any | Fault:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module_name)
        except ImportError as error:
            if isinstance(error, ModuleNotFoundError) and error.name and stands_under(module_name, [error.name]):
                continue
            return Fault(key, f"{module_name} can not be imported: {error}", "install what it needs")
        for part in parts[length:]:
            if not hasattr(found, part):
                near = [n for n in get_close_matches(part, dir(found), n=1) if not n.startswith("_")]
                hint = f"did you mean '{near[0]}'?" if near else "check the spelling"
                return Fault(key, f"{module_name} has no '{part}'", hint)
            found = getattr(found, part)
        return found
    return Fault(key, f"there is no module {parts[0]}", "check the spelling, or install the package")
