"""Parses the overrides of a command line by Hydra's grammar, and reports the faults of all of them.

Each fault says what to type instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from stepladder.config.experiment_defaults import GROUP, SEVERAL, SUITES, lost_option
from stepladder.config.merging import reference
from stepladder.config.options import groups, options
from stepladder.config.plain_data import NODES
from stepladder.config.quoting import shell_word
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.types import Plain

DEEPEST = 40
"""Brackets that may be open at once: Hydra's parser is slow for deep nesting."""
MOST_VALUES = 10_000
"""Values that one override may list."""


def parse(texts: Sequence[str]) -> list[Override]:
    """Parse overrides.

    Raises:
        ConfigError: With a fault for every text that is not an override, or that sets Hydra itself.
    """
    parser, faults, parsed = OverridesParser.create(), [], []
    for text in texts:
        if _depth(text) > DEEPEST:
            faults.append(
                Fault(f"{text[:60]}...", f"more than {DEEPEST} brackets are open at once", "write it flatter")
            )
            continue
        try:
            override = parser.parse_override(text)
        except (HydraException, ValueError, RecursionError):
            faults.append(_not_an_override(text))
            continue
        if override.key_or_group.split(".")[0].split("/")[0] == "hydra":
            faults.append(Fault(text, "Hydra's own settings are not used", "use --outputs DIR to say where results go"))
        what = _endless(override)
        if what:
            faults.append(Fault(text, what, f"name at most {MOST_VALUES:,} values, or give finite ends"))
        parsed.append(override)
    if faults:
        raise ConfigError(faults)
    return parsed


def _not_an_override(text: str) -> Fault:
    key, equals, value = text.partition("=")
    if not equals:
        return Fault(text, "not an override", "write KEY=VALUE; 'stepladder --help' lists verbs and flags")
    if not re.fullmatch(r"[+~]{0,2}[\w./@:-]+", key):
        return Fault(text, f"'{key}' is no key", "write KEY=VALUE, without spaces around the =")
    if re.match(r"(choice|range|interval|tag|int|float|shuffle|sort)\(", value):
        return Fault(
            text, "these values of a sweep can not be read", "write choice(A, B), range(1, 4) or interval(0, 1)"
        )
    if value.strip("+-").isdigit():
        return Fault(
            f"{key}={value[:20]}...", f"a number of {len(value)} digits is above the limit", "give a smaller one"
        )
    if value[:1] in ("[", "{"):
        end = {"[": "]", "{": "}"}[value[0]]
        what = "a list or mapping that is not closed, or with a value that has to be quoted"
        return Fault(text, what, f"close it with {end}, and quote texts in it: [a,'b (c)'], {{name: 'a, b'}}")
    if "${" in value:
        value = re.sub(r"(?<!\\)\$\{", r"\\${", value)
        return Fault(
            text, "'${' begins a reference to another key", f"for the characters themselves: {shell_word(key, value)}"
        )
    return Fault(text, "the value has characters that must be quoted", f"write {shell_word(key, value)}")


def _depth(text: str) -> int:
    opened = deepest = 0
    for sign in text:
        opened += (sign in "[{(") - (sign in "]})")
        deepest = max(deepest, opened)
    return deepest


def _endless(override: Override) -> str:
    """Why the values of an override can not be counted; empty where they can."""
    values = override.value()
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
    """The values of every override that lists several (`a=1,2`, `a=choice(1,2)`, `a=range(1,3)`), by key.

    Raises:
        ConfigError: For an interval, which has no list of values.
    """
    found = {}
    for override in overrides:
        if override.is_sweep_override():
            if override.is_interval_sweep():
                raise ConfigError(
                    Fault(str(override.input_line), "an interval has no list of values", "use 'stepladder sweep'")
                )
            found[override.get_key_element()] = [str(value) for value in override.sweep_string_iterator()]
    return found


def fault_of_list(override: Override, folders: Sequence[Path]) -> Fault:
    """The fault of an override with several values where an experiment takes one."""
    text = str(override.input_line)
    key, _, value = text.partition("=")
    if key in SEVERAL:
        what = f"several options of '{key}' are written in brackets"
        return Fault(text, what, f"write {key}=[{value}]")
    if _chooses(override, groups(folders)):
        what = f"one experiment has one option of '{key}'"
        return Fault(text, what, f"to compare them: stepladder compare {text}")
    if not override.is_choice_sweep() or "(" in value.partition(",")[0]:
        return Fault(text, "one experiment takes one value", "use 'stepladder compare' or 'stepladder sweep'")
    listed = f"{key}=[{value}]"
    what = "a comma separates several values, and one experiment takes one"
    if _is_prose(override):
        return Fault(text, what, f"for one text: {shell_word(key, value)}")
    return Fault(
        text,
        what,
        f"for a list: {listed}; for one text: {shell_word(key, value)}; to compare them: stepladder compare {text}",
    )


def _is_prose(override: Override) -> bool:
    """Whether the values that commas separate are parts of one sentence."""
    values = override.value()
    return isinstance(values, ChoiceSweep) and any(isinstance(each, str) and " " in each for each in values.list)


def prose(overrides: Sequence[Override]) -> list[Fault]:
    """The faults of unquoted sentences with a comma, where several values are allowed."""
    return [
        Fault(
            str(override.input_line),
            "a comma separates several values, and one of these has spaces",
            f"for one text: {shell_word(*str(override.input_line).split('=', 1))}; "
            "for several, quote each: KEY='a b','c d'",
        )
        for override in overrides
        if _is_prose(override)
    ]


def parted(overrides: Sequence[Override], folders: Sequence[Path]) -> tuple[list[Override], list[Override]]:
    """The overrides that choose options of groups, and those that set values."""
    known = groups(folders)
    return [o for o in overrides if _chooses(o, known)], [o for o in overrides if not _chooses(o, known)]


def _chooses(override: Override, known: Sequence[str]) -> bool:
    key: str = override.key_or_group
    return key in known or "/" in key or override.package is not None


def faults_of_names(overrides: Sequence[Override], folders: Sequence[Path]) -> list[Fault]:
    """The faults of choices that name no option: null, numbers, mappings."""
    return [
        _fault_of_name(override, folders)
        for override in parted(overrides, folders)[0]
        if not override.is_delete() and not _is_name(override)
    ]


def _fault_of_name(override: Override, folders: Sequence[Path]) -> Fault:
    text, group, chosen = str(override.input_line), override.key_or_group, override.value()
    there = options(folders, group)
    if isinstance(chosen, list) and group not in SEVERAL and all(isinstance(name, str) for name in chosen):
        what = f"one experiment has one option of '{group}'"
        return Fault(text, what, f"to compare them: stepladder compare {group}={','.join(chosen)}")
    if chosen is None:
        to_do = f"write ~{group} to remove the group"
        return Fault(text, f"null is no option of '{group}'", did_you_mean("", there) if group in NODES else to_do)
    if group in SEVERAL:
        return Fault(
            text,
            f"{group} is chosen by names of options",
            f"write {group}=[A,B] with names of {', '.join(there)}",
        )
    return Fault(text, f"{group} is chosen by the name of an option", did_you_mean("", there))


def _is_name(override: Override) -> bool:
    chosen, group = override.value(), override.key_or_group
    if group == "experiment" and chosen is None:
        return True
    several = group in SEVERAL and isinstance(chosen, list) and all(isinstance(name, str) for name in chosen)
    return several or isinstance(chosen, str)


def in_nested_group(text: str, folders: Sequence[Path]) -> str:
    """A choice of an option of a nested group in Hydra's form: `sweep.sampler=gp` becomes `sweep/sampler=gp`."""
    key, _, value = text.partition("=")
    inside = key.replace(".", "/")
    there = "." in key and any((folder / inside).is_dir() for folder in folders)
    return f"{inside}={value}" if there and not value.startswith("{") else text


def faults_of_groups(overrides: Sequence[Override], folders: Sequence[Path]) -> dict[str, list[Fault]]:
    """The faults of every override that chooses an option, by the override's text."""
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
                    lost_option(name, folders, override.key_or_group),
                )
                for name in names
                if name not in there and chosen is not None and override.key_or_group != GROUP
            ]
            found[str(override.input_line)] = faults
    return found


def fault_of_value(override: Override, config: Plain, known_groups: Sequence[str]) -> Fault | None:
    """The fault of an override that sets a value in `config`; None where its key exists or is to be added."""
    text, key = str(override.input_line), override.key_or_group
    parts = key.split(".")
    if override.is_add():
        parts = parts[:-1]
    node: Any = config
    for done, part in enumerate(parts):
        if not isinstance(node, Mapping) or part not in node:
            above = ".".join(parts[:done]) or "the configuration"
            if name := reference(node):
                return _of_reference(override, name, ".".join(parts[:done]))
            if not isinstance(node, Mapping):
                return Fault(text, f"{above} holds a value, not keys", f"set {above} itself")
            if done == 1 and parts[0] == SUITES:
                return Fault(text, f"the suite '{part}' is not chosen", f"write {parts[0]}=[{part}] as well")
            names = [str(n) for n in node] + (list(known_groups) if done == 0 else [])
            return Fault(text, f"{above} has no key '{part}'", _meant(part, names, override))
        node = node[part]
    if override.is_add() and (name := reference(node)):
        return _of_reference(override, name, ".".join(parts))
    if override.is_delete() and node is None:
        return Fault(text, f"{key} is null already: there is nothing to remove", f"leave it out, or write {key}=VALUE")
    value = None if override.is_delete() else override.value()
    if isinstance(value, Mapping) and isinstance(node, Mapping) and not override.is_add():
        return _inner_fault(text, key, value, node)
    return None


def _of_reference(override: Override, name: str, above: str) -> Fault:
    """The fault of a key below a node that refers to another node."""
    text = str(override.input_line)
    sign = "+" if override.is_add() else ""
    instead = f"{sign}{name}{text.lstrip('+')[len(above) :]}"
    return Fault(text, f"{above} is the node '{name}'", f"write {instead}")


def _meant(part: str, names: Sequence[str], override: Override) -> str:
    """The most similar key; where there is none, how to add one."""
    hint = did_you_mean(part, names)
    if hint.startswith("did you mean") or override.is_delete() or override.is_add():
        return hint
    return f"{hint}; +{override.input_line} adds it, if its class takes it"


def _inner_fault(text: str, key: str, value: Mapping[Any, Any], node: Plain) -> Fault | None:
    """The fault of a key of a mapping that is given as a value."""
    for name, child in value.items():
        if str(name) not in {str(each) for each in node}:
            hint = did_you_mean(str(name), [str(each) for each in node])
            return Fault(
                text, f"{key} has no key '{name}'", f"{hint}; ++{text} adds it" if "known here" in hint else hint
            )
        if isinstance(child, Mapping) and isinstance(node.get(name), Mapping):
            found = _inner_fault(text, f"{key}.{name}", child, node[name])
            if found:
                return found
    return None
