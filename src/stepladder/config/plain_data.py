"""Checks that a configuration is plain data of limited size and has the nodes that every configuration has."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.yaml_files import parts_of
from stepladder.errors import Fault
from stepladder.types import Plain

NODES = ("dataset", "method", "decoding", "evaluation", "compute", "preflight", "tracking", "comparison", "sweep")
"""Nodes that every configuration has."""
LARGEST = 2**63 - 1
"""The largest integer: it fits a 64-bit integer of NumPy, PyArrow and PostgreSQL."""
MOST_NODES = 100_000
"""Values that one file may have, counted with every repetition of an anchor."""
DEEPEST = 60


def faults(config: Plain) -> list[Fault]:
    """The faults of a configuration: missing nodes, values that are not plain data, numbers that are not finite."""
    absent, without_keys = "the configuration does not have it", "the chosen option has no keys"
    lost = {key: config.get(key) for key in NODES if not isinstance(config.get(key), Mapping)}
    to_do = "choose an option of the group: {}=..."
    found = [Fault(key, absent if v is None else without_keys, to_do.format(key)) for key, v in lost.items()]
    if "seed" not in config:
        found.append(Fault("seed", absent, "give a whole number: seed=0"))
    suites = config.get("evaluation")
    for name, suite in suites.items() if isinstance(suites, Mapping) else ():
        if not isinstance(suite, Mapping) or not isinstance(suite.get("_target_"), str):
            found.append(Fault(f"evaluation.{name}", "this is no suite", "a suite is a node with a _target_"))
    return found + list(_of_values(config, ""))


def _of_values(value: Any, key: str) -> Iterator[Fault]:
    if isinstance(value, Mapping):
        for name, child in value.items():
            where = f"{key}.{name}".lstrip(".")
            if not isinstance(name, str | int | float | bool):
                yield Fault(where, f"{name!r} names no key", "write a word")
            yield from _of_values(child, where)
    elif isinstance(value, list):
        for place, child in enumerate(value):
            yield from _of_values(child, f"{key}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Fault(key, f"{value} is no number to compute with", "give a finite one, or null where there is no limit")
    elif isinstance(value, int) and abs(value) > LARGEST:
        yield Fault(key, f"a number of {len(str(abs(value)))} digits is too large", f"give at most {LARGEST}")
    elif isinstance(value, str) and "\0" in value:
        yield Fault(key, "a text holds a character with the number zero", "take it out")
    elif value is not None and not isinstance(value, str | int | float):
        yield Fault(key, f"a value of the kind {type(value).__name__}", "write a text, a number, a list or keys")


def oversized_files(folder: Path) -> list[Fault]:
    """The faults of files in a conf folder that are nested too deep, or too large because anchors repeat anchors.

    A file that is not YAML is reported when it is read.
    """
    found = []
    for file in sorted(folder.rglob("*.yaml")):
        try:
            node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
            _size(node, {}, 0)
        except OverflowError as error:
            found.append(Fault(str(file), str(error), "write it flatter, or without anchors"))
        except RecursionError:
            found.append(Fault(str(file), "it is nested too deep", "write it flatter"))
        except (yaml.YAMLError, ValueError, OSError):
            continue
    return found


def _size(node: Any, known: dict[int, int], depth: int) -> int:
    """The number of values of a node, counted with every repetition of an anchor; OverflowError for too many."""
    if known.get(id(node)) == 0:
        raise OverflowError("an anchor is a part of itself")
    if id(node) in known:
        return known[id(node)]
    if depth > DEEPEST:
        raise OverflowError(f"it is nested more than {DEEPEST} deep")
    known[id(node)], size = 0, 1
    for part in parts_of(node):
        size += _size(part, known, depth + 1)
        if size > MOST_NODES:
            raise OverflowError(f"it has more than {MOST_NODES:,} values, counted with repeated anchors")
    known[id(node)] = size
    return size
