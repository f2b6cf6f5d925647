"""Adds file and line to faults of values that an experiment file or an option of the user's conf sets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stepladder.config import merging
from stepladder.config.experiment_defaults import GROUP
from stepladder.config.experiment_file import ExperimentFile, read
from stepladder.config.options import chosen_by_default, readable_folders
from stepladder.config.precedence import node_of
from stepladder.config.yaml_files import lines_of, parse_yaml
from stepladder.errors import ConfigError


def located(error: ConfigError, texts: Sequence[str], config_dir: Path | None) -> ConfigError:
    """The same error. Faults of keys that a file sets, and the command line does not, name the file and the line."""
    folders = readable_folders(config_dir)
    on_command_line = {key for text in texts if "." in (key := text.lstrip("+~").partition("=")[0])}
    names = next((t.partition("=")[2] for t in reversed(texts) if t.lstrip("+").startswith(f"{GROUP}=")), "").split(",")
    try:
        files = [file for name in names if name and name != "null" for file in read(name, folders)]
    except ConfigError:
        return error
    if not files and len(folders) == 1:
        return error
    faults = []
    for fault in error.faults:
        path = tuple(part for part in re.split(r"\.|\[\d+\]", fault.key) if part)
        own = any(fault.key == key or fault.key.startswith((f"{key}.", f"{key}=")) for key in on_command_line)
        place = None if own else next(_places(path, files, texts, folders), None)
        faults.append(replace(fault, key=f"{fault.key} ({place})") if place else fault)
    return ConfigError(faults, error.sound)


def _places(
    path: merging.Path, files: Sequence[ExperimentFile], texts: Sequence[str], folders: Sequence[Path]
) -> Iterator[str]:
    for file in reversed(files):
        if path in file.lines:
            yield file.where(file.lines[path])
    if len(folders) == 1:
        return
    choices: dict[str, object] = dict(chosen_by_default(folders))
    choices |= {choice.group: choice.option for file in files for choice in file.choices}
    choices |= {text.lstrip("+").partition("=")[0]: text.partition("=")[2] for text in texts}
    for own in sorted(folders[0].rglob("*.yaml")):
        group = own.relative_to(folders[0]).parent.as_posix()
        chosen = [each for each, option in choices.items() if each.partition("@")[0] == group and option == own.stem]
        for node in [node for node in map(node_of, chosen) if path[: len(node)] == node]:
            with suppress(ConfigError):  # a file that is no YAML has no lines to name
                lines = dict(lines_of(parse_yaml(own, own.read_bytes())[1]))
                if path[len(node) :] in lines:
                    yield f"{own}, line {lines[path[len(node) :]]}"
