"""Merges the values of an experiment file into a composed configuration, and finds the values that differ.

Both work on plain, unresolved data (interpolations are texts) and are inverse to each other:
`merged(base, differing(base, whole))` equals `whole`.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepladder.types import Plain

REMOVED = "~"
"""The prefix of a key that is removed, as `~KEY` does on a command line. Its value is null."""

Path = tuple[str, ...]


def reference(value: object) -> str | None:
    """The name of the node that `value` refers to, if it is a reference to a whole node (`${prompt}`)."""
    found = re.fullmatch(r"\$\{(\w+)\}", value) if isinstance(value, str) else None
    return found[1] if found else None


def merged(base: Plain, values: Plain) -> dict[str, Any]:
    """A copy of `base` with `values`: mappings key by key, everything else replaced.

    Keys given for a reference (`context: ${retrieval}`) change a copy of the node that it refers to.
    """
    whole = copy.deepcopy(dict(base))
    late: list[tuple[dict[Any, Any], Any, Mapping[Any, Any]]] = []
    _merge(whole, values, late)
    for node, key, inner in late:  # now that the nodes referred to have their own values
        node[key] = _followed(node[key], whole)
        _merge(node[key], inner, [])
    return whole


def _merge(node: dict[Any, Any], values: Mapping[Any, Any], late: list[Any]) -> None:
    for key, value in values.items():
        if is_removal(key, value):
            name = next((each for each in node if str(each) == key[1:]), None)
            node.pop(name, None)
        elif not isinstance(value, Mapping):
            node[key] = copy.deepcopy(value)
        elif reference(node.get(key)):
            late.append((node, key, value))
        else:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            _merge(node[key], value, late)


def is_removal(key: object, value: object) -> bool:
    return isinstance(key, str) and key.startswith(REMOVED) and len(key) > 1 and value is None


def _followed(value: Any, whole: Plain) -> dict[Any, Any]:
    """A copy of the node that `value` refers to, directly or through other references."""
    seen: set[str] = set()
    while (name := reference(value)) is not None and name not in seen:
        seen.add(name)
        value = whole.get(name)
    return copy.deepcopy(value) if isinstance(value, dict) else {}


def differing(base: Mapping[Any, Any], whole: Mapping[Any, Any]) -> dict[Any, Any]:
    """The values of `whole` that differ from those of `base`; `~KEY: null` for a key that only `base` has."""
    return _differing(base, whole, whole)


def _differing(base: Mapping[Any, Any], node: Mapping[Any, Any], whole: Mapping[Any, Any]) -> dict[Any, Any]:
    found: dict[Any, Any] = {f"{REMOVED}{key}": None for key in base if key not in node}
    if node is not whole and [*(k for k in base if k in node), *(k for k in node if k not in base)] != list(node):
        return {f"{REMOVED}{key}": None for key in base} | dict(node)  # the order of labels and suites has a meaning
    for key, value in node.items():
        before = base.get(key)
        if key in base and equal(before, value):
            continue
        if reference(before) and isinstance(value, Mapping):
            before = _followed(before, whole)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            found[key] = _differing(before, value, whole)
        else:
            found[key] = value
    return found


def equal(one: object, other: object) -> bool:
    """Whether both are the same plain data in the same order. 1, 1.0 and true differ."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and one == other


def leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is not a mapping with keys, with its path."""
    if isinstance(values, Mapping) and values:
        for key, value in values.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, values


def taken_out(values: Mapping[Any, Any], nodes: Sequence[Path]) -> tuple[dict[Any, Any], dict[Path, Any]]:
    """`values` without those at or below `nodes`, and the values that were left out, by path."""
    out: dict[Path, Any] = {}

    def rest(node: Mapping[Any, Any], path: Path) -> dict[Any, Any]:
        kept = {}
        for key, value in node.items():
            here = (*path, str(key).removeprefix(REMOVED) if is_removal(key, value) else str(key))
            if here in nodes:
                out.update(dict(leaves(value, here)))
            elif isinstance(value, Mapping) and any(each[: len(here)] == here for each in nodes):
                kept[key] = rest(value, here)
            else:
                kept[key] = value
        return kept

    return rest(values, ()), out


def at(config: Any, path: Path) -> Any:
    """The value at `path`, or None."""
    for name in path:
        items = config.items() if isinstance(config, Mapping) else ()
        config = next((value for key, value in items if str(key) == name), None)
    return config
