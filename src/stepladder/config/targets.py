"""Decides which classes a `_target_` may name, and imports them.

Names under a prefix of `--trust` are also looked up in the current directory.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from stepladder.errors import Fault
from stepladder.public import public_name

TRUSTED = ("stepladder", "peft", "torch.optim", "optuna")
"""Prefixes of targets that need no `--trust PREFIX`."""

_PACKAGES = "config context dataset evaluation methods models runs studies tuning types"
PUBLIC = tuple(f"stepladder.{name}" for name in _PACKAGES.split())
"""Our packages whose public classes a configuration may name. Stores, locks and the command line are left out."""

KINDS = {
    "peft": ("peft.PeftConfig", "peft.tuners.lora.config"),
    "torch.optim": ("torch.optim.Optimizer",),
    "optuna": ("optuna.samplers.BaseSampler", "optuna.pruners.BasePruner"),
}
"""For other packages: the base classes, or the module, that a target must come from. Other classes of these packages
may write files when an object is made."""


def is_under(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def resolve(name: object, key: str, trust: Sequence[str] = (), light: bool = False) -> Any | Fault:
    """The class or function of a dotted name, or the fault.

    The name is checked before anything is imported, and the module that defines the object afterwards: an alias in a
    trusted module does not make other code trusted.

    Args:
        name: The dotted name, as the configuration has it at `key`.
        trust: Prefixes that the user trusts.
        light: Return None instead of importing a third-party package.
    """
    allowed = (*TRUSTED, *trust)
    if not isinstance(name, str) or not all(_is_public(part) for part in name.split(".")):
        shown = "null" if name is None else f"'{name}'"
        return Fault(key, f"{shown} is not the dotted name of a class", "write package.module.Name")
    refusal = Fault(
        key,
        f"the target {name} is outside the trusted prefixes ({', '.join(allowed)})",
        f"if you trust that code, say --trust {name.split('.')[0]}",
    )
    if not is_under(name, allowed):
        return refusal
    if light and not is_under(name, ["stepladder"]):
        return None
    if is_under(name, trust):
        _make_current_directory_importable()
    found = _look_up(name, key)
    if isinstance(found, Fault):
        return found
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or not is_under(module, allowed):
        return refusal
    if not callable(found):
        return Fault(key, f"{name} is not a class or function", "name a class")
    if not is_under(module, trust) and not _is_a_part(found, module):
        return Fault(key, f"{name} is not a class that experiments are made of", "see 'stepladder show'")
    if is_under(module, ["stepladder"]) and name != public_name(found):
        return Fault(key, f"{name} is not a public name", f"write {public_name(found)}")
    return found


def _make_current_directory_importable() -> None:
    """Add it as the last entry of `sys.path`, so that no file there replaces an installed module."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()


def _is_public(part: str) -> bool:
    """Whether it may be part of a dotted name: `__main__`, `__globals__` and the like may not."""
    return part.isidentifier() and not part.startswith("__")


def _is_a_part(found: Any, module: str) -> bool:
    if is_under(module, ["stepladder"]):
        return public_name(found).rpartition(".")[0] in PUBLIC
    named = {n for base in getattr(found, "__mro__", ()) for n in (base.__module__, public_name(base))}
    return any(is_under(module, [prefix]) and named & set(kinds) for prefix, kinds in KINDS.items())


def _look_up(name: str, key: str) -> Any | Fault:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            return _member(importlib.import_module(module_name), parts[length:], key)
        except ImportError as error:  # of a module, or of what it imports when one of its names is asked for
            absent = isinstance(error, ModuleNotFoundError) and error.name is not None
            if absent and is_under(module_name, [str(error.name)]):
                continue
            message = " ".join(str(error).split())
            return Fault(key, f"{module_name} can not be imported: {message}", "install what it needs")
    return Fault(key, f"there is no module {parts[0]}", "check the spelling, or install the package")


def _member(module: Any, parts: Sequence[str], key: str) -> Any | Fault:
    found: Any = module
    for part in parts:
        if not hasattr(found, part):
            near = [n for n in get_close_matches(part, dir(found), n=1) if not n.startswith("_")]
            hint = f"did you mean '{near[0]}'?" if near else "check the spelling"
            return Fault(key, f"{module.__name__} has no '{part}'", hint)
        found = getattr(found, part)
    return found
