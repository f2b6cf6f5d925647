"""Decides which option of each group is used: the command line's, the experiment file's, or the default of conf/.

An option of the command line may imply other choices (`method=structured` implies `prompt=structured`). They win over
the experiment file, too. Values that an experiment file sets below a node whose option changes are left out and
reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from stepladder.config import merging
from stepladder.config.experiment_defaults import GROUP, SUITES, Choice, Option
from stepladder.config.experiment_file import ExperimentFile, read
from stepladder.config.options import chosen_by_default, file_of
from stepladder.config.yaml_files import content_of, defaults_of
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain

AUTO = "auto"
"""The option with the suites of the task's kind. Named suites are added to it."""
LONGEST = 60


@dataclass(frozen=True)
class Change:
    """The option of a group, with the experiment file alone and with the command line."""

    group: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ChoicePlan:
    """The choices of a command line and of its experiment files, as overrides for Hydra.

    Attributes:
        files: The experiment files, in the order of merging.
        choices: The choices of the experiment files, by group.
        command: The options that the command line chooses, by group.
        of_command: The overrides of the command line's choices.
        brought: Choices that an option of the command line implies, each with that option.
        base: Overrides that are always needed.
    """

    files: tuple[ExperimentFile, ...]
    choices: Mapping[str, Choice]
    command: Mapping[str, Option]
    of_command: tuple[str, ...]
    brought: Mapping[str, tuple[Option, str]] = field(default_factory=dict)
    base: tuple[str, ...] = ()

    @property
    def of_file(self) -> tuple[str, ...]:
        """The overrides of the experiment files alone."""
        return (*self.base, *(_line(choice) for choice in self._single()), self._suites())

    def _single(self) -> list[Choice]:
        return [choice for group, choice in self.choices.items() if group != SUITES]

    def kept(self, own: Plain) -> tuple[tuple[str, ...], list[tuple[Choice, str]]]:
        """The overrides of the experiment files that the command line leaves, and the other choices with the reason.

        `own` are the options that the files choose without the command line.
        """
        given = {group: option for group, (option, _) in self.brought.items()} | dict(self.command)
        changed = [node_of(group) for group, option in given.items() if own and _frozen(own.get(group)) != option]
        lines, given_up = list(self.base), []
        for choice in self._single():
            group, node = choice.group, node_of(choice.group)
            if group in self.command:
                continue
            if group in self.brought:
                option, by = self.brought[group]
                if option != choice.option:
                    given_up.append((choice, f"{by} implies {text_of(group, option)}"))
            elif above := next((each for each in changed if node != each and node[: len(each)] == each), None):
                given_up.append((choice, f"it is below {'.'.join(above)}"))
            else:
                lines.append(_line(choice))
        return (*lines, *([] if SUITES in self.command else [self._suites()])), given_up

    def _suites(self) -> str:
        chosen = self.choices[SUITES].option if SUITES in self.choices else ()
        return suites_line([chosen] if isinstance(chosen, str) else chosen or ())

    def changes(self, own: Plain, final: Plain, base: Plain) -> dict[merging.Path, Change]:
        """The nodes whose option the command line changes.

        `own` are the options of the experiment files alone, `final` those of both, which compose to `base`.
        """
        found = {
            node_of(group): Change(group, _frozen(own.get(group)), _frozen(final.get(group)))
            for group in sorted({*own, *final} - {SUITES}, key=lambda group: len(node_of(group)))
            if own.get(group) != final.get(group)
        }
        if own.get(SUITES) != final.get(SUITES):
            for name in {str(n) for file in self.files for n in file.values.get(SUITES) or ()}:
                bare = name.removeprefix(merging.REMOVED)
                if bare not in (base.get(SUITES) or {}):
                    found[SUITES, bare] = Change(SUITES, tuple(own[SUITES]), tuple(final[SUITES]))
        return found

    def dropped(
        self,
        changed: Mapping[merging.Path, Change],
        lost: Mapping[merging.Path, Any],
        given_up: Sequence[tuple[Choice, str]],
        whole: Plain,
        set_by_command: Sequence[merging.Path],
    ) -> tuple[str, ...]:
        """Notices about the values and choices of the experiment files that are not used.

        There is no notice for a value that the new option has as well, and for one that the command line sets itself.
        """
        name = self.files[-1].name if self.files else ""
        notices = [
            f"experiment {name}: its {text_of(choice.group, choice.option)} is not used: {why}"
            for choice, why in given_up
        ]
        by_change: dict[Change, list[str]] = {}
        for path, value in lost.items():
            change = next(changed[path[:length]] for length in range(1, len(path) + 1) if path[:length] in changed)
            overridden = any(path[: len(s)] == s or s[: len(path)] == path for s in set_by_command)
            if not overridden and not merging.equal(merging.at(whole, path), value):
                by_change.setdefault(change, []).append(f"{'.'.join(path)}={_short(value)}")
        for change, values in by_change.items():
            notices.append(
                f"experiment {name}: {text_of(change.group, change.after)} replaces its "
                f"{text_of(change.group, change.before)}, so these values of it are not used: {', '.join(values)}"
            )
        return tuple(notices)


def planned(choosing: Sequence[Override], folders: Sequence[Path]) -> ChoicePlan:
    """Read the chosen experiment file and plan the choices of options."""
    default = chosen_by_default(folders).get(GROUP)
    name: Any = default
    for override in choosing:
        if address_of(override) == GROUP:
            name = None if override.is_delete() else override.value()
    if isinstance(name, list):
        what = "one experiment file is chosen at a time"
        raise ConfigError(Fault(f"experiment={name}", what, "let one include the other in its defaults list: - NAME"))
    files = read(str(name), folders) if name is not None else []
    choices = {choice.group: choice for file in files for choice in file.choices}
    command: dict[str, Option] = {}
    lines: list[str] = []
    for override in choosing:
        group = address_of(override)
        if group not in (SUITES, GROUP):
            command[group] = None if override.is_delete() else _frozen(override.value())
            adds = group in choices and choices[group].added and not override.is_add() and not override.is_delete()
            lines.append(f"+{override.input_line}" if adds else str(override.input_line))
    chosen = [override.value() for override in choosing if address_of(override) == SUITES and not override.is_delete()]
    if chosen:
        suites = [name for value in chosen for name in (value if isinstance(value, list) else [value])]
        lines.append(suites_line(suites))
        command[SUITES] = tuple(dict.fromkeys((AUTO, *suites)))
    brought = {
        brings: (its, text_of(group, option))
        for group, option in command.items()
        if isinstance(option, str)
        for brings, its in brought_by(group, option, folders).items()
    }
    base = ("~experiment",) if default is not None else ()
    return ChoicePlan(tuple(files), choices, command, tuple(lines), brought, base)


def address_of(override: Override) -> str:
    """The group of a choice, with its package, as Hydra names it."""
    return f"{override.key_or_group}@{override.package}" if override.package else str(override.key_or_group)


def suites_line(names: Sequence[Any]) -> str:
    return f"evaluation=[{','.join(dict.fromkeys((AUTO, *map(str, names))))}]"


def brought_by(group: str, option: str, folders: Sequence[Path], seen: tuple[str, ...] = ()) -> dict[str, Option]:
    """The choices of other groups in an option's file (`override /prompt@_global_.prompt: structured`)."""
    file = file_of(folders, group.partition("@")[0], option)
    if file is None or f"{group}={option}" in seen or b"defaults" not in file.read_bytes():  # spares parsing most files
        return {}
    seen = (*seen, f"{group}={option}")
    found: dict[str, Option] = {}
    for entry in defaults_of(content_of(file)):
        found |= _of_entry(entry, group, folders, seen)
    return found


def _of_entry(entry: Any, group: str, folders: Sequence[Path], seen: tuple[str, ...]) -> dict[str, Option]:
    own, node = group.partition("@")[0], ".".join(node_of(group))
    if isinstance(entry, str):
        return brought_by(group, entry, folders, seen)
    if not isinstance(entry, Mapping) or len(entry) != 1:
        return {}
    ((key, option),) = entry.items()
    *words, address = str(key).split() or [""]
    name, _, package = address.partition("@")
    inner = name[1:] if name.startswith("/") else f"{own}/{name}"
    package = package or name.lstrip("/").replace("/", ".")
    absolute = package.startswith("_global_")
    package = package.removeprefix("_global_").strip(".") if absolute else f"{node}.{package}"
    full = inner if package == inner.replace("/", ".") else f"{inner}@{package}"
    if "override" in words:
        return {full: _frozen(option)}
    return brought_by(full, option, folders, seen) if isinstance(option, str) else {}


def node_of(group: str) -> merging.Path:
    """The node of a group: `sweep.sampler` for `sweep/sampler`, NODE for `GROUP@NODE`."""
    name, _, package = group.partition("@")
    return tuple(package.split(".")) if package else tuple(name.split("/"))


def text_of(group: str, option: Any) -> str:
    if option is None:
        return f"no {group}"
    names = f"[{','.join(n for n in option if n != AUTO)}]" if isinstance(option, list | tuple) else option
    return f"{group}={names}"


def _line(choice: Choice) -> str:
    if choice.option is None:
        return f"~{choice.group}"
    names = [choice.option] if isinstance(choice.option, str) else choice.option
    quoted = ",".join(map(_quoted, names))
    return f"{'+' if choice.added else ''}{choice.group}={quoted if isinstance(choice.option, str) else f'[{quoted}]'}"


def _quoted(option: str) -> str:
    return option if re.fullmatch(r"[A-Za-z_][\w/.-]*", option) else "'" + option.replace("'", "\\'") + "'"


def _frozen(option: Any) -> Any:
    return tuple(option) if isinstance(option, list) else option


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
