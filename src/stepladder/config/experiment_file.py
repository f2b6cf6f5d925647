"""Reads files of `experiment/`: the options that they choose and the values that they set, each with its line.

Stepladder reads these files itself. Hydra would merge their values after the command line's options, so that a saved
experiment would silently win over the command line, and Hydra's messages name neither file nor line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stepladder.config import merging
from stepladder.config.experiment_defaults import GROUP, HEADER, SEVERAL, Choice, DefaultsReader, is_null
from stepladder.config.options import file_of, options
from stepladder.config.yaml_files import content_of, lines_of, parse_yaml
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.types import Plain


@dataclass(frozen=True)
class ExperimentFile:
    """One file: `choices` of options, `values` (unresolved) and the line of every key, by its path.

    `included` names the other experiments of its defaults list, None standing for the file itself.
    """

    name: str
    path: Path
    choices: tuple[Choice, ...]
    values: Plain
    lines: Mapping[merging.Path, int]
    included: tuple[str | None, ...]

    def where(self, line: int) -> str:
        return f"{self.path}, line {line}"


def read(name: str, folders: Sequence[Path], including: tuple[str, ...] = ()) -> list[ExperimentFile]:
    """The experiment file of that name and those that its defaults list includes, in the order of merging.

    Raises ConfigError with all faults of a file, each with file, line and what to write.
    """
    path = file_of(folders, GROUP, name)
    if path is None:
        raise ConfigError(missing(name, folders))
    if name in including:
        raise ConfigError(Fault(str(path), "this experiment file includes itself", "remove the line from its defaults"))
    own = _Reader(path, folders).result(name)
    found: list[ExperimentFile] = []
    for entry in own.included if None in own.included else (*own.included, None):
        found += [own] if entry is None else read(entry, folders, (*including, name))
    return found


def missing(name: str, folders: Sequence[Path]) -> Fault:
    """The fault of an experiment file that no conf folder has."""
    where, stem, there = f"experiment={name}", Path(name).stem, options(folders, GROUP)
    for folder in folders:
        for file in (folder / GROUP / f"{name}.yml", folder / f"{name}.yaml"):
            if name and file.is_file():
                what = f"{file} is not read: an experiment is a file experiment/NAME.yaml"
                return Fault(where, what, f"rename it to {folder / GROUP / f'{stem}.yaml'}")
    for folder in folders:
        if (folder / GROUP / f"{name}.yaml").is_file():
            what = f"'{name}' leads out of the folder {folder}"
            return Fault(where, what, "put the file itself there, not a link to it")
    if Path(name).suffix in (".yaml", ".yml") and stem in there:
        return Fault(where, "an experiment is named without its ending", f"write experiment={stem}")
    return Fault(where, f"there is no experiment file '{name}.yaml'", did_you_mean(name, there))


class _Reader(DefaultsReader):
    """Reads one file and collects its faults, those of the defaults list first."""

    def result(self, name: str) -> ExperimentFile:
        text, node = parse_yaml(self.path, self.path.read_bytes())
        if node is not None and not isinstance(node, yaml.MappingNode):
            to_do = f"begin it with {HEADER} and write KEY: VALUE"
            self.fault(1, "an experiment file holds keys, not a list or a text", to_do)
            raise ConfigError(self.faults)
        entries = node.value if node is not None else []
        for key, value in entries:
            if key.value == "defaults":
                self.read_defaults(value)
        self._header(text)
        for key, value in entries:
            if key.value != "defaults":
                self._top_key(key, value)
        if self.faults:
            raise ConfigError(self.faults)
        choices, included = tuple(self.choices), tuple(self.included)
        values = self._values(text) if entries else {}
        return ExperimentFile(name, self.path, choices, values, dict(lines_of(node)), included)

    def _header(self, text: str) -> None:
        before = takewhile(lambda line: line in ("", "---") or line[0] == "#", map(str.strip, text.splitlines()))
        for number, line in enumerate(before, 1):
            if found := re.fullmatch(r"#\s*@package\b[:\s]*(\S*)\s*", line):
                if found[1] != "_global_":
                    self.fault(number, f"an experiment sets values everywhere, not in '{found[1]}'", f"write {HEADER}")
                return
        self.fault(1, "the first line of an experiment file is missing", f"write {HEADER} as its first line")

    def _values(self, text: str) -> dict[str, Any]:
        try:
            found: Any = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
        except OmegaConfBaseException as error:
            key = str(getattr(error, "full_key", None) or "")
            what = "a value has '${' that refers to no key"
            to_do = "write \\${ for the characters themselves, or ${KEY} with the name of a key"
            raise ConfigError(Fault(f"{self.path}{f', {key}' if key else ''}", what, to_do)) from error
        return {str(key): value for key, value in found.items() if key != "defaults"}

    def _top_key(self, key: yaml.Node, value: yaml.Node) -> None:
        name, line = str(key.value), key.start_mark.line + 1
        bare = name.removeprefix(merging.REMOVED)
        if name.split(".")[0] == "hydra":
            self.fault(line, "Hydra's own settings are not used", "use --outputs DIR to say where results go")
        elif "." in name and name.split(".")[0] in self.groups:
            first, rest = name.split(".", 1)
            to_do = f"write {first}: and below it, indented, {rest}:"
            self.fault(line, f"'{name}' is one key with a dot in its name", to_do)
        elif bare in self.groups:
            self._node(name, value, line)
        elif bare != "seed":
            self.fault(line, f"nothing reads the key '{name}'", self._meant(name))

    def _meant(self, name: str) -> str:
        """What an unknown key at the top was probably meant to be: a misspelt group, or a key of a node."""
        near = did_you_mean(name, [*self.groups, "seed", "defaults"])
        homes = [group for group in self.groups if group != GROUP and name in keys_of(self.folders, group)]
        homes.sort(key=lambda group: group == "method")  # last: which keys it has depends on its option
        if homes and not near.startswith("did you mean"):
            return f"indent it below '{homes[0]}:'" + (f" (or {', '.join(homes[1:])})" if homes[1:] else "")
        return near

    def _node(self, group: str, value: yaml.Node, line: int) -> None:
        """Add the fault of a group whose value is not a mapping with keys."""
        if isinstance(value, yaml.MappingNode) or group.startswith(merging.REMOVED):
            return
        there = options(self.folders, group)
        names = [v.value for v in value.value] if isinstance(value, yaml.SequenceNode) else [value.value]
        if is_null(value):
            self.fault(line, "nothing is below this key", f"indent the keys of '{group}' below it, or remove it")
        elif isinstance(value, yaml.ScalarNode) or (group in SEVERAL and all(isinstance(n, str) for n in names)):
            listed = f"[{', '.join(map(str, names))}]" if isinstance(value, yaml.SequenceNode) else names[0]
            what = f"'{group}: {listed}' chooses no option: options are chosen in the defaults list"
            hint = "" if all(name in there for name in names) else f" ({did_you_mean(str(names[0]), there)})"
            self.fault(line, what, f"write under defaults: - override /{group}: {listed}{hint}")
        else:
            to_do = f"write KEY: VALUE below it, or - override /{group}: OPTION under defaults"
            self.fault(line, f"'{group}' holds a list, not keys", to_do)


def keys_of(folders: Sequence[Path], group: str) -> set[str]:
    """The top-level keys of all options of a group."""
    files = [file_of(folders, group, option) for option in options(folders, group)]
    return {str(key) for file in files if file for key in content_of(file)} - {"defaults", "_target_"}
