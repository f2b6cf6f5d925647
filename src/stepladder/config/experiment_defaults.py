"""Reads the defaults list of an experiment file: the options that it chooses and the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from stepladder.config.options import chosen_by_default, file_of, groups, options
from stepladder.config.plain_data import NODES
from stepladder.errors import Fault, did_you_mean

GROUP = "experiment"
HEADER = "# @package _global_"
EXAMPLE = "write - override /method: finetune"
SUITES = "evaluation"
SEVERAL = (SUITES, "tracking")
"""Groups of which several options can be chosen at once."""

Option = str | tuple[str, ...] | None


@dataclass(frozen=True)
class Choice:
    """An option that a file chooses.

    Attributes:
        group: For example `method`, `sweep/sampler` or `dataset@evaluation.retention.dataset`.
        option: The option's name, several names, or None, which removes the group.
        line: The line of the choice in its file; 0 where it is not from a file.
        added: Whether the option is added (`- /GROUP@NODE: OPTION`) instead of replacing one.
    """

    group: str
    option: Option
    line: int = 0
    added: bool = False


class DefaultsReader:
    """Reads one defaults list and collects `choices`, `included` files (None is the file itself) and `faults`."""

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        self.path, self.folders = path, folders
        self.groups = groups(folders)
        self.choices: list[Choice] = []
        self.included: list[str | None] = []
        self.faults: list[Fault] = []

    def fault(self, line: int, what: str, to_do: str) -> None:
        self.faults.append(Fault(f"{self.path}, line {line}", what, to_do))

    def read_defaults(self, node: yaml.Node) -> None:
        if isinstance(node, yaml.SequenceNode):
            for entry in node.value:
                self._entry(entry)
        elif not is_null(node):
            what = "the defaults are a list, with a dash before each entry"
            self.fault(node.start_mark.line + 1, what, EXAMPLE)

    def _entry(self, entry: yaml.Node) -> None:
        line = entry.start_mark.line + 1
        if isinstance(entry, yaml.ScalarNode):
            self._text_entry(str(entry.value), line)
        elif isinstance(entry, yaml.MappingNode) and len(entry.value) == 1:
            ((key, value),) = entry.value
            self._group_entry(str(key.value), value, line)
        elif isinstance(entry, yaml.MappingNode) and entry.value:
            second, what = entry.value[1][0], "one entry of a defaults list has several keys"
            self.fault(second.start_mark.line + 1, what, f"put a dash before it: - {second.value}: ...")
        else:
            self.fault(line, "this entry of the defaults list is neither a choice nor a name", EXAMPLE)

    def _text_entry(self, text: str, line: int) -> None:
        name = text.removeprefix(f"/{GROUP}/")
        wanted = re.fullmatch(r"(?:override\s+)?/?([\w/@.]+)\s*[=:\s]\s*([\w/.-]+)", text)
        if text == "_self_":
            self.included.append(None)
        elif wanted:
            self.fault(line, f"'{text}' chooses no option", f"write - override /{wanted[1]}: {wanted[2]}")
        elif file_of(self.folders, GROUP, name) is not None:
            self.included.append(name)
        elif name.startswith("/"):
            self.fault(line, f"'{text}' is no experiment file", "write - override /GROUP: OPTION to choose an option")
        else:
            home = next((group for group in self.groups if name in options(self.folders, group)), None)
            near = did_you_mean(name, ["_self_", *options(self.folders, GROUP)])
            hint = f"write - override /{home}: {name}" if home else near
            self.fault(line, f"there is no experiment file '{name}'", hint)

    def _group_entry(self, key: str, value: yaml.Node, line: int) -> None:
        *words, address = key.split() or [""]
        group, _, package = address.lstrip("/").partition("@")
        given = value.value if isinstance(value, yaml.ScalarNode) else "OPTION"
        instead = f"write - override /{group}: {given}"
        if group.split("/")[0] == "hydra":
            self.fault(line, "Hydra's own settings are not used", "use --outputs DIR to say where results go")
        elif group == GROUP:
            self.fault(line, "another experiment file is included by its name alone", f"write - {given}")
        elif words not in ([], ["override"]):
            self.fault(line, f"'{' '.join(words)}' is not read in an experiment file", instead)
        elif not group or not any((folder / group).is_dir() for folder in self.folders):
            near = did_you_mean(group, [g for g in self.groups if g != GROUP])
            self.fault(line, f"there is no group '{group}'", near)
        elif not address.startswith("/"):
            what = f"'{key}:' lacks a slash: groups are named from the top"
            self.fault(line, what, f"write - override /{address}: {given}")
        elif not words and not package and (group in chosen_by_default(self.folders) or "/" in group):
            self.fault(line, f"'{group}' has an option already", instead)
        else:
            self._choice(group, package, value, line, added=not words)

    def _choice(self, group: str, package: str, value: yaml.Node, line: int, added: bool) -> None:
        there, several = options(self.folders, group), isinstance(value, yaml.SequenceNode)
        names = tuple(str(each.value) for each in (value.value if several else [value]))
        lost = [name for name in names if name not in there]
        if is_null(value) and group in NODES:
            self.fault(line, f"no option of '{group}' is named", did_you_mean("", there))
        elif is_null(value):
            self.choices.append(Choice(_address(group, package), None, line, added))
        elif several and group not in SEVERAL:
            to_do = f"name one; to compare several: stepladder compare {group}={','.join(names)}"
            self.fault(line, f"one option of '{group}' is chosen at a time", to_do)
        elif isinstance(value, yaml.MappingNode):
            self.fault(line, f"an option of '{group}' is chosen by its name", did_you_mean("", there))
        elif lost:
            for name in lost:
                self.fault(line, f"{group} has no option '{name}'", lost_option(name, self.folders, group))
        else:
            self.choices.append(Choice(_address(group, package), names if several else names[0], line, added))


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _address(group: str, package: str) -> str:
    """The choice's name in Hydra: without the package if it is the group's own."""
    package = re.sub(r"^_(global|here)_\.", "", package)
    return group if package in ("", group.replace("/", ".")) else f"{group}@{package}"


def lost_option(name: str, folders: Sequence[Path], group: str) -> str:
    """What to do about an option that does not exist."""
    for folder in folders:
        for file in (folder / group / f"{name}.yml", folder / group / name):
            if file.is_file():
                return f"{file} is not read: rename it to {file.with_suffix('.yaml').name}"
    return did_you_mean(name, options(folders, group))
