"""Parses the overrides of a command line by Hydra's grammar, and reports the faults of all of them.

Each fault says what to type instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
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
            what = f"more than {DEEPEST} brackets are open at once"
            faults.append(Fault(f"{text[:60]}...", what, "write it flatter"))
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
        to_do = "write choice(A, B), range(1, 4) or interval(0, 1)"
        return Fault(text, "these values of a sweep can not be read", to_do)
    if value.strip("+-").isdigit():
        what = f"a number of {len(value)} digits is above the limit"
        return Fault(f"{key}={value[:20]}...", what, "give a smaller one")
    if end := {"[": "]", "{": "}"}.get(value[:1]):
        what = "a list or mapping that is not closed, or with a value that has to be quoted"
        return Fault(text, what, f"close it with {end}, and quote texts in it: [a,'b (c)'], {{name: 'a, b'}}")
    if "${" in value:
        escaped = shell_word(key, re.sub(r"(?<!\\)\$\{", r"\\${", value))
        return Fault(text, "'${' begins a reference to another key", f"for the characters themselves: {escaped}")
    return Fault(text, "the value has characters that must be quoted", f"write {shell_word(key, value)}")


def _depth(text: str) -> int:
    return max(accumulate((sign in "[{(") - (sign in "]})") for sign in text), default=0)


def _endless(override: Override) -> str:
    """Why the values of an override can not be counted; empty where they can."""
    values = override.value()
    if isinstance(values, Glob):
        return "a pattern names no values"
    if isinstance(values, IntervalSweep) and not _are_finite(values.start, values.end):
        return "the interval has no ends"
    if isinstance(values, RangeSweep):
        if not _are_finite(values.start, values.stop, values.step) or not values.step:
            return "the range has no end"
        if abs(values.stop - values.start) > MOST_VALUES * abs(values.step):
            return "the range has too many values"
    return ""


def _are_finite(*values: object) -> bool:
    return all(isinstance(each, int) or (isinstance(each, float) and math.isfinite(each)) for each in values)


def lists(overrides: Sequence[Override]) -> dict[str, list[str]]:
    """The values of every override that lists several (`a=1,2`, `a=choice(1,2)`, `a=range(1,3)`), by key.

    Raises:
        ConfigError: For an interval, which has no list of values.
    """
    several = [override for override in overrides if override.is_sweep_override()]
    for override in several:
        if override.is_interval_sweep():
            what = "an interval has no list of values"
            raise ConfigError(Fault(str(override.input_line), what, "use 'stepladder sweep'"))
    return {o.get_key_element(): [str(value) for value in o.sweep_string_iterator()] for o in several}


def fault_of_list(override: Override, folders: Sequence[Path]) -> Fault:
    """The fault of an override with several values where an experiment takes one."""
    text = str(override.input_line)
    key, _, value = text.partition("=")
    if key in SEVERAL:
        return Fault(text, f"several options of '{key}' are written in brackets", f"write {key}=[{value}]")
    compare = f"to compare them: stepladder compare {text}"
    if _chooses(override, groups(folders)):
        return Fault(text, f"one experiment has one option of '{key}'", compare)
    if not override.is_choice_sweep() or "(" in value.partition(",")[0]:
        return Fault(text, "one experiment takes one value", "use 'stepladder compare' or 'stepladder sweep'")
    what = "a comma separates several values, and one experiment takes one"
    one_text = f"for one text: {shell_word(key, value)}"
    return Fault(text, what, one_text if _is_prose(override) else f"for a list: {key}=[{value}]; {one_text}; {compare}")


def _is_prose(override: Override) -> bool:
    """Whether the values that commas separate are parts of one sentence."""
    values = override.value()
    return isinstance(values, ChoiceSweep) and any(isinstance(each, str) and " " in each for each in values.list)


def prose(overrides: Sequence[Override]) -> list[Fault]:
    """The faults of unquoted sentences with a comma, where several values are allowed."""
    what = "a comma separates several values, and one of these has spaces"
    to_do = "for one text: {}; for several, quote each: KEY='a b','c d'"
    texts = [str(override.input_line) for override in overrides if _is_prose(override)]
    return [Fault(text, what, to_do.format(shell_word(*text.split("=", 1)))) for text in texts]


def parted(overrides: Sequence[Override], folders: Sequence[Path]) -> tuple[list[Override], list[Override]]:
    """The overrides that choose options of groups, and those that set values."""
    known = groups(folders)
    return [o for o in overrides if _chooses(o, known)], [o for o in overrides if not _chooses(o, known)]


def _chooses(override: Override, known: Sequence[str]) -> bool:
    key: str = override.key_or_group
    return key in known or "/" in key or override.package is not None


def faults_of_names(overrides: Sequence[Override], folders: Sequence[Path]) -> list[Fault]:
    """The faults of choices that name no option: null, numbers, mappings."""
    choosing = [override for override in parted(overrides, folders)[0] if not override.is_delete()]
    return [fault for fault in (_fault_of_name(override, folders) for override in choosing) if fault]


def _fault_of_name(override: Override, folders: Sequence[Path]) -> Fault | None:
    text, group, chosen = str(override.input_line), override.key_or_group, override.value()
    there = options(folders, group)
    names = chosen if isinstance(chosen, list) and all(isinstance(name, str) for name in chosen) else None
    if isinstance(chosen, str) or (group == GROUP and chosen is None) or (group in SEVERAL and names is not None):
        return None
    if names is not None:
        what = f"one experiment has one option of '{group}'"
        return Fault(text, what, f"to compare them: stepladder compare {group}={','.join(names)}")
    if chosen is None:
        to_do = f"write ~{group} to remove the group"
        return Fault(text, f"null is no option of '{group}'", did_you_mean("", there) if group in NODES else to_do)
    if group in SEVERAL:
        to_do = f"write {group}=[A,B] with names of {', '.join(there)}"
        return Fault(text, f"{group} is chosen by names of options", to_do)
    return Fault(text, f"{group} is chosen by the name of an option", did_you_mean("", there))


def in_nested_group(text: str, folders: Sequence[Path]) -> str:
    """A choice of an option of a nested group in Hydra's form: `sweep.sampler=gp` becomes `sweep/sampler=gp`."""
    key, _, value = text.partition("=")
    inside = key.replace(".", "/")
    there = "." in key and any((folder / inside).is_dir() for folder in folders)
    return f"{inside}={value}" if there and not value.startswith("{") else text


def faults_of_groups(overrides: Sequence[Override], folders: Sequence[Path]) -> dict[str, list[Fault]]:
    """The faults of every override that chooses an option, by the override's text."""
    found: dict[str, list[Fault]] = {}
    for override in parted(overrides, folders)[0]:
        if not override.is_delete():
            text, group, chosen = str(override.input_line), override.key_or_group, override.value()
            names = [] if chosen is None or group == GROUP else chosen if isinstance(chosen, list) else [chosen]
            lost = [name for name in map(str, names) if name not in options(folders, group)]
            found[text] = [Fault(text, f"{group} has no option '{n}'", lost_option(n, folders, group)) for n in lost]
    return found


def fault_of_value(override: Override, config: Plain, known_groups: Sequence[str]) -> Fault | None:
    """The fault of an override that sets a value in `config`; None where its key exists or is to be added."""
    text, key = str(override.input_line), override.key_or_group
    parts = key.split(".")[: -1 if override.is_add() else None]
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
    text, sign = str(override.input_line), "+" if override.is_add() else ""
    return Fault(text, f"{above} is the node '{name}'", f"write {sign}{name}{text.lstrip('+')[len(above) :]}")


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
            to_do = f"{hint}; ++{text} adds it" if "known here" in hint else hint
            return Fault(text, f"{key} has no key '{name}'", to_do)
        nested = isinstance(child, Mapping) and isinstance(node.get(name), Mapping)
        if nested and (found := _inner_fault(text, f"{key}.{name}", child, node[name])):
            return found
    return None
