"""Public names: what a package exports, imported at first use, and what a class is called in configs and keys."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package whose public names are imported at first use (PEP 562).

    Args:
        package: The package's `__name__`.
        modules: The public names of each module, by the module's name within the package.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> Any:  # noqa: N807 - Python asks for this name
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__, sorted(homes)


def public_name(thing: Any) -> str:
    """The shortest dotted name under which a class or function can be imported.

    `stepladder.context.retrieval.Retrieval` is `stepladder.context.Retrieval`, and `peft.tuners.lora.config.LoraConfig`
    is `peft.LoraConfig`. Keys are made from this name, so that moving a class within its package changes no key.
    """
    module, name = str(thing.__module__), str(thing.__qualname__)
    parts = module.split(".")
    for length in range(1, len(parts)):
        package = ".".join(parts[:length])
        if getattr(sys.modules.get(package), name, None) is thing:
            return f"{package}.{name}"
    return f"{module}.{name}"
