"""Restricts what `${name:...}` may read in a configuration: other values of it, and nothing of the machine.

A configuration is saved and hashed, and may come from somebody else: what it reads from the environment would be saved
with it.

OmegaConf has no public way to list its resolvers and to put back one that was replaced. `confined` therefore reads and
restores `BaseContainer._resolvers`, the only private state of OmegaConf that is used here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

from stepladder.errors import ConfigError, Fault

ALLOWED = frozenset({"oc.create", "oc.decode", "oc.deprecated", "oc.dict.keys", "oc.dict.values", "oc.select"})
"""Resolvers that only read the configuration itself."""

UNWRITTEN = ("sweep", "storage")
"""The one value that is never saved: it may hold a password, or name an environment variable that does."""

_VARIABLE = re.compile(r"\$\{oc\.env:\s*(\w+)\s*\}")


@contextmanager
def confined(*names: str) -> Iterator[None]:
    """Within it these resolvers are refused, however a configuration reaches them.

    Args:
        names: The resolvers to refuse; without any, all except `ALLOWED`.

    Raises:
        ConfigError: For the first one that is used.
    """
    before, reached = dict(BaseContainer._resolvers), list[str]()
    for name in names or before.keys() - ALLOWED:
        OmegaConf.register_new_resolver(name, partial(_refused, name, reached), replace=True)
    try:
        yield
    except Exception as error:
        if reached:
            raise ConfigError(_fault(reached[0], getattr(error, "full_key", None) or "conf")) from None
        raise
    finally:
        BaseContainer._resolvers.clear()
        BaseContainer._resolvers.update(before)


def _refused(name: str, reached: list[str], *arguments: Any) -> None:
    reached.append(":".join([name, *(str(argument) for argument in arguments[:1])]))
    raise ValueError(name)


def _fault(what: str, key: str) -> Fault:
    to_do = "write the value"
    if what.startswith("oc.env"):
        to_do += '; on a command line the shell fills in "$NAME"; libraries find HF_TOKEN and its like themselves'
    return Fault(key, f"${{{what}}} would put what only this machine knows into a configuration that is saved", to_do)


def is_variable(value: object) -> bool:
    """Whether it is `${oc.env:NAME}` and nothing else."""
    return isinstance(value, str) and _VARIABLE.fullmatch(value) is not None


def of_environment(value: str) -> str:
    """The value itself; for `${oc.env:NAME}`, that of the variable.

    Raises:
        ConfigError: Where the variable is not set.
    """
    named = _VARIABLE.fullmatch(value)
    if named is None:
        return value
    if not os.environ.get(named[1]):
        raise ConfigError(Fault(".".join(UNWRITTEN), f"the variable {named[1]} is not set", f"export {named[1]}=..."))
    return os.environ[named[1]]
