"""Lists the groups of the configuration and their options, from the files of conf/.

An option's description is the first sentence of the comment that its file begins with; a group's is its comment in
conf/config.yaml.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from stepladder.config.options import conf_folder, file_of, options
from stepladder.config.yaml_files import content_of, defaults_of
from stepladder.errors import UserError, did_you_mean
from stepladder.io.redaction import DATA
from stepladder.types import Plain

_GROUP = re.compile(r"^(?:#|[ ]+) ?- ([\w/]+): ([^#\n]*?)(?:[ ]+# (.*))?$", re.MULTILINE)
_SENTENCE = re.compile(r".+?(?<!\bal)[.?!](?=\s|$)")
LONGEST_VALUE = 60
"""Characters of a printed value."""


@dataclass(frozen=True)
class Option:
    """One file of a group. `keys`: what can be set when it is chosen, with the values that it sets."""

    name: str
    description: str
    keys: Plain
    file: str


@dataclass(frozen=True)
class Group:
    """A directory of conf/, written with dots. `default`: the option that conf/config.yaml chooses, if it does."""

    name: str
    description: str
    default: str | None
    options: tuple[Option, ...]


def catalogue(folders: Sequence[Path]) -> list[Group]:
    """All groups of the conf folders, the user's first: a file there replaces the packaged one of that name."""
    described = _described(folders[-1])
    names = {file.parent.relative_to(folder).as_posix() for folder in folders for file in folder.glob("*/**/*.yaml")}
    order = [*described, *sorted({name.split("/")[0] for name in names})]
    in_order = sorted(names, key=lambda name: (order.index(name.split("/")[0]), name))
    found = []
    for name in in_order:
        default, description = described.get(name, ("", ""))
        options_there = tuple(_option(name, option, folders) for option in options(folders, name))
        chosen = next((each.name for each in options_there if each.name == default.strip("[] ")), None)
        found.append(Group(name.replace("/", "."), description, chosen, options_there))
    return found


def group(name: str, folders: Sequence[Path]) -> Group:
    """The group of that name, written with dots or slashes."""
    found = {group.name: group for group in catalogue(folders)}
    wanted = name.strip("/=").replace("/", ".")
    if wanted in found:
        return found[wanted]
    holding = [
        f"it is an option: {each.name}={wanted}" for each in found.values() if wanted in [o.name for o in each.options]
    ]
    near = did_you_mean(wanted, [*found])
    raise UserError(f"There is no group '{name}'", "stepladder options", holding[0] if holding else near)


def folders(config_dir: Path | None) -> list[Path]:
    """The conf folders, the user's first."""
    if config_dir is not None and not config_dir.is_dir():
        raise UserError(f"There is no directory {config_dir}", "--config-dir", "name a directory laid out like conf/")
    return [conf_folder()] if config_dir is None else [config_dir.resolve(), conf_folder()]


def lines_of_groups(groups: Sequence[Group], width: int) -> Iterator[str]:
    """The text of `options`: each group with its description, its options and the default."""
    for each in groups:
        yield from _wrapped(f"{each.name}: {each.description}".rstrip(": "), width, "")
        names = [f"{option.name} (default)" if option.name == each.default else option.name for option in each.options]
        yield from _wrapped(", ".join(names), width, "  ")


def lines_of_options(group: Group, width: int) -> Iterator[str]:
    """The text of `options GROUP`: each option with its description and its keys."""
    yield from _wrapped(f"{group.name}: {group.description}".rstrip(": "), width, "")
    for option in group.options:
        yield ""
        yield f"  {group.name}={option.name}" + ("  (default)" if option.name == group.default else "")
        yield from _wrapped(option.description, width, "    ")
        keys = ", ".join(f"{key}={_value(value)}" for key, value in option.keys.items())
        yield from _wrapped(f"keys: {keys}" if keys else "", width, "    ")


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    more = f"{indent}  "
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _option(group: str, name: str, folders: Sequence[Path]) -> Option:
    file = next(file for folder in folders if (file := folder / group / f"{name}.yaml").is_file())
    text, node = _text(file), content_of(file)
    own = "" if "@package _global_" in text else group.replace("/", ".")
    return Option(name, _description(text, node), _keys(own, group, node, folders, ()), str(file))


def _keys(prefix: str, group: str, node: Plain, folders: Sequence[Path], seen: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of an option: those of the options that it is made from, then its own."""
    found: dict[str, Any] = {}
    for line in defaults_of(node):
        if isinstance(line, str):
            file = file_of(folders, group, line)
            if file is not None and file not in seen:
                found |= _keys(prefix, group, content_of(file), folders, (*seen, file))
        elif isinstance(line, Mapping):
            found |= {_dotted(prefix, str(key)): chosen for key, chosen in line.items() if "override" not in str(key)}
    values = {name: value for name, value in node.items() if name not in ("defaults", "_target_")}
    return found | dict(_flat(prefix, values))


def _dotted(prefix: str, choice: str) -> str:
    """The key of a nested choice, such as `/embedder@embedder` or `prices`, below the option that has it."""
    return f"{prefix}.{choice.rpartition('@')[2].lstrip('/').replace('/', '.')}".lstrip(".")


def _flat(prefix: str, node: Plain) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        key = f"{prefix}.{name}".lstrip(".")
        if isinstance(value, Mapping) and value and name not in DATA:
            yield from _flat(key, {name: item for name, item in value.items() if name != "_target_"})
        elif isinstance(value, list):
            yield (
                key,
                [each if isinstance(each, str | int | float) else json.dumps(each, default=str) for each in value],
            )
        else:
            yield key, value if value is None or isinstance(value, str | int | float | Mapping) else str(value)


def _description(text: str, node: Plain) -> str:
    comment = takewhile(lambda line: line.startswith("#"), text.splitlines())
    lines = [line.lstrip("# ").rstrip() for line in comment if "@package" not in line]
    sentence = _SENTENCE.match(" ".join(lines))
    if sentence or lines:
        return sentence[0] if sentence else lines[0]
    target = node.get("_target_")
    return f"{target}." if isinstance(target, str) else ""


def _described(packaged: Path) -> dict[str, tuple[str, str]]:
    """By group, the option that config.yaml chooses and its comment."""
    found = _GROUP.findall(_text(packaged / "config.yaml"))
    return {name: (default, comment) if comment else ("", default) for name, default, comment in found}


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
