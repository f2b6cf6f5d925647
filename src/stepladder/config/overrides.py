"""The overrides of a command line: parsed by Hydra's grammar, judged one by one, so that all faults are told at once.

Knows Hydra's grammar and the names of groups and options; knows nothing of what they mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from stepladder.config.options import groups, options
from stepladder.errors import ConfigError, Fault, did_you_mean

DEEPEST = 40
"""So many brackets may be open at once: the grammar takes its time with them."""
MOST_VALUES = 10_000
"""So many values may one override name."""


def parse(texts: Sequence[str]) -> list[Override]:
    """Raises ConfigError with every text that is no override, or that is not ours to take."""
    parser, faults, parsed = OverridesParser.create(), [], []
    for text in texts:
        if _depth(text) > DEEPEST:
            faults.append(
                Fault(f"{text[:60]}...", f"more than {DEEPEST} brackets are open at once", "write it flatter")
            )
            continue
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError, RecursionError) as error:
            faults.append(_not_an_override(text, str(error)))
            continue
        if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            faults.append(Fault(text, "Hydra's own settings are not used", "use --outputs DIR for where results go"))
        what = _endless(override)
        if what:
            faults.append(Fault(text, what, f"name at most {MOST_VALUES:,} values, or give finite ends"))
        parsed.append(override)
    if faults:
        raise ConfigError(faults)
    return parsed


def _not_an_override(text: str, error: str) -> Fault:
    key, equals, value = text.partition("=")
    if not equals:
        return Fault(text, "not an override", "write KEY=VALUE; 'stepladder --help' lists verbs and flags")
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    first_line = error.strip().splitlines()[0] if error.strip() else "not understood"
    return Fault(text, f"Hydra's grammar does not take it: {first_line}", f"quote the value: \"{key}='{quoted}'\"")


def _depth(text: str) -> int:
    opened = deepest = 0
    for sign in text:
        opened += (sign in "[{(") - (sign in "]})")
        deepest = max(deepest, opened)
    return deepest


def _endless(override: Override) -> str:
    """What keeps the values that an override names from being counted; empty where nothing does."""
    values = override._value
    if isinstance(values, Glob):
        return "a pattern names no values"
    if isinstance(values, IntervalSweep) and not all(_is_finite(end) for end in (values.start, values.end)):
        return "the interval has no ends"
    if isinstance(values, RangeSweep):
        ends = (values.start, values.stop, values.step)
        if not all(_is_finite(end) for end in ends) or not values.step:
            return "the range has no end"
        if abs(values.stop - values.start) > MOST_VALUES * abs(values.step):
            return "the range has too many values"
    return ""


def _is_finite(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def lists(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """The values of every override that names several (`a=1,2`, `a=choice(1,2)`, `a=range(1,3)`), by key."""
    found = {}
    for override in overrides:
        if override.is_sweep_override():
            if override.is_interval_sweep():
                raise ConfigError(
                    Fault(str(override.input_line), "an interval has no list of values", "use 'stepladder sweep'")
                )
            found[override.get_key_element()] = [str(value) for value in override.sweep_string_iterator()]
    return found


def parted(overrides: Sequence[Override], folders: Sequence[Path]) -> tuple[list[Override], list[Override]]:
    """Those that choose the options of groups, and those that set values."""
    known = groups(folders)
    return [o for o in overrides if _chooses(o, known)], [o for o in overrides if not _chooses(o, known)]


def _chooses(override: Override, known: Sequence[str]) -> bool:
    key: str = override.key_or_group
    return key in known or "/" in key or override.package is not None


def unnamed(overrides: Sequence[Override], folders: Sequence[Path]) -> list[Fault]:
    """Choices of an option by what is no name."""
    return [
        Fault(
            str(override.input_line),
            f"{override.key_or_group} is chosen by the name of an option",
            did_you_mean("", options(folders, override.key_or_group)),
        )
        for override in parted(overrides, folders)[0]
        if not override.is_delete() and not _is_name(override.value())
    ]


def _is_name(chosen: object) -> bool:
    return isinstance(chosen, str) or (isinstance(chosen, list) and all(isinstance(name, str) for name in chosen))


def nested(text: str, folders: Sequence[Path]) -> str:
    """`sweep.sampler=gp`, where gp is an option of a group in a group, as Hydra has it: `sweep/sampler=gp`."""
    key, _, value = text.partition("=")
    inside = key.replace(".", "/")
    there = "." in key and any((folder / inside).is_dir() for folder in folders)
    return f"{inside}={value}" if there and not value.startswith("{") else text


def faults_of_groups(overrides: Sequence[Override], folders: Sequence[Path]) -> dict[str, list[Fault]]:
    """Of every override that chooses an option: what is wrong with the choice, by its text."""
    known, found = groups(folders), {}
    for override in overrides:
        if _chooses(override, known) and not override.is_delete():
            chosen = override.value()
            names = [str(c) for c in chosen] if isinstance(chosen, list) else [str(chosen)]
            there = options(folders, override.key_or_group)
            faults = [
                Fault(
                    str(override.input_line),
                    f"{override.key_or_group} has no option '{name}'",
                    did_you_mean(name, there),
                )
                for name in names
                if name not in there and chosen is not None
            ]
            found[str(override.input_line)] = faults
    return found


def fault_of_value(override: Override, config: Mapping[str, Any], known_groups: Sequence[str]) -> Fault | None:
    """What is wrong with an override that sets a value in `config`; None when its key is there (or is to be added)."""
    text, key = str(override.input_line), override.key_or_group
    parts = key.split(".")
    if override.is_add():
        parts = parts[:-1]
    node: Any = config
    for done, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            above = ".".join(parts[:done]) or "the configuration"
            if not isinstance(node, Mapping):
                return Fault(text, f"{above} holds a value, not keys", f"set {above} itself")
            names = [str(n) for n in node] + (list(known_groups) if done == 0 else [])
            return Fault(text, f"{above} has no key '{part}'", did_you_mean(part, names))
        node = node[part]
    return None
