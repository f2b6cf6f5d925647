"""Finds the class that the dotted name in a `_target_` names, as far as the configuration is trusted.

Names under a prefix of `--trust` are looked for in the current directory, too.
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
"""Where a target may stand without the user's word (`--trust PREFIX`)."""

PUBLIC = tuple(
    f"stepladder.{name}"
    for name in (
        "config",
        "context",
        "dataset",
        "evaluation",
        "methods",
        "models",
        "runs",
        "studies",
        "tuning",
        "types",
    )
)
"""Of ourselves: the packages whose public names experiments are made of. Stores, locks and the command line are not."""

KINDS = {
    "peft": ("peft.PeftConfig", "peft.tuners.lora.config"),
    "torch.optim": ("torch.optim.Optimizer",),
    "optuna": ("optuna.samplers.BaseSampler", "optuna.pruners.BasePruner"),
}
"""Of the others: the classes that a target must come from, or their module. Some of the rest write files when built."""


def _shown(name: object) -> str:
    return "null" if name is None else f"'{name}'"


def stands_under(name: str, prefixes: Sequence[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def resolve(name: object, key: str, trust: Sequence[str] = (), light: bool = False) -> Any | Fault:
    """The object that `name` stands for, or the fault; with `light` None where that would import a heavy package.

    The written name is checked before anything is imported, and the object's own module after: an alias in a trusted
    module does not make a stranger trusted.
    """
    allowed = (*TRUSTED, *trust)
    if not isinstance(name, str) or not all(_is_public(part) for part in name.split(".")):
        return Fault(key, f"{_shown(name)} is not the dotted name of a class", "write package.module.Name")
    refusal = Fault(
        key,
        f"the target {name} is outside the trusted prefixes ({', '.join(allowed)})",
        f"if you trust that code, say --trust {name.split('.')[0]}",
    )
    if not stands_under(name, allowed):
        return refusal
    if light and not stands_under(name, ["stepladder"]):
        return None
    if stands_under(name, trust):
        _make_current_directory_importable()
    found = _look_up(name, key)
    if isinstance(found, Fault):
        return found
    module = getattr(found, "__module__", None)
    if not isinstance(module, str) or not stands_under(module, allowed):
        return refusal
    if not callable(found):
        return Fault(key, f"{name} is not a class or function", "name a class")
    if not stands_under(module, trust) and not _is_a_part(found, module):
        return Fault(key, f"{name} is not a class that experiments are made of", "see 'stepladder show'")
    if stands_under(module, ["stepladder"]) and name != public_name(found):
        return Fault(key, f"{name} is not a public name", f"write {public_name(found)}")
    return found


def _make_current_directory_importable() -> None:
    """The last place where Python looks, so that no file there takes the place of an installed module."""
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
        importlib.invalidate_caches()


def _is_public(part: str) -> bool:
    """Names that Python itself gives (`__main__`, `__globals__`) are nobody's to name."""
    return part.isidentifier() and not part.startswith("__")


def _is_a_part(found: Any, module: str) -> bool:
    if stands_under(module, ["stepladder"]):
        return public_name(found).rpartition(".")[0] in PUBLIC
    named = {n for base in getattr(found, "__mro__", ()) for n in (base.__module__, public_name(base))}
    return any(stands_under(module, [prefix]) and named & set(kinds) for prefix, kinds in KINDS.items())


def _look_up(name: str, key: str) -> Any | Fault:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:length])
        try:
            return _member(importlib.import_module(module_name), parts[length:], key)
        except ImportError as error:  # of a module, or of what it imports when one of its names is asked for
            absent = isinstance(error, ModuleNotFoundError) and error.name is not None
            if absent and stands_under(module_name, [str(error.name)]):
                continue
            told = " ".join(str(error).split())
            return Fault(key, f"{module_name} can not be imported: {told}", "install what it needs")
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
