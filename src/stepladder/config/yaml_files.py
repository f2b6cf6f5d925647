"""Reads YAML files of a configuration, with the line of every key, and explains what makes a file unreadable."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stepladder.config import merging
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain


def content_of(file: Path) -> Plain:
    """The keys of a file; none where it is no YAML or holds no keys: composing it reports what is wrong."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def defaults_of(content: Plain) -> list[Any]:
    """The entries of a file's defaults list."""
    found = content.get("defaults")
    return found if isinstance(found, list) else []


def parse_yaml(path: Path, content: bytes) -> tuple[str, yaml.Node | None]:
    """The text of a file and its YAML node.

    Raises:
        ConfigError: With file and line, where the file is not YAML or has a key twice in one mapping.
    """
    try:
        text = content.decode("utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        _distinct(node)
        return text, node
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(unreadable(error, str(path))) from error


def _distinct(node: yaml.Node | None) -> None:
    """Raise a YAML error for a key that is there twice in one mapping."""
    first: dict[str, int] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in first:
                what = f"found duplicate key {key.value}, first in line {first[key.value]}"
                raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
            first[key.value] = key.start_mark.line + 1
    for part in parts_of(node):
        _distinct(part)


def parts_of(node: yaml.Node | None) -> list[yaml.Node]:
    """The nodes directly below a node: keys and values of a mapping, items of a list."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def unreadable(error: Exception, file: str) -> Fault:
    """The fault of a file that can not be read as YAML, with the line."""
    if isinstance(error, UnicodeDecodeError):
        return Fault(file, f"byte {error.start} is not UTF-8", "save the file as UTF-8")
    if not isinstance(error, yaml.YAMLError):
        what = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        return Fault(file, f"the file can not be read: {what}", "correct the file")
    mark = getattr(error, "problem_mark", None)
    file = mark.name if mark and Path(mark.name).is_file() else file
    problem = str(getattr(error, "problem", None) or error)
    where = f"{file}, line {mark.line + 1}" if mark else file
    duplicate = re.match(r"found duplicate key ([^,]*)(.*)", problem)
    if duplicate:
        return Fault(where, f"the key '{duplicate[1]}' is there twice{duplicate[2]}", "keep one of them")
    for text, what, to_do in _PROBLEMS:
        if text in problem:
            return Fault(where, what or f"not YAML: {problem}", to_do)
    return Fault(where, f"not YAML: {problem}", "correct the line, or quote its value")


_UNEXPECTED_COLON = "an unexpected colon: the line before is indented wrongly, or a value with ': ' is not quoted"
_UNALIGNED = ("this line is not indented like the lines of its node", "align the keys of one node with spaces")
_PROBLEMS = (
    ("\\t", "a tab is used to indent this line", "indent with spaces: YAML allows no tabs there"),
    ("undefined alias", "", "quote a value that begins with *"),
    ("mapping values are not allowed", _UNEXPECTED_COLON, "align the keys of one node, and quote such a value"),
    ("expected <block end>", *_UNALIGNED),
    ("did not find expected", *_UNALIGNED),
    ("could not find expected ':'", "a key without a colon", "write KEY: VALUE"),
)
"""Texts in PyYAML's problems, each with what is wrong (empty: PyYAML's words) and what to do."""


def lines_of(node: yaml.Node | None, path: merging.Path = ()) -> Iterator[tuple[merging.Path, int]]:
    """The line number of every key, by its path."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value).removeprefix(merging.REMOVED))
            yield here, key.start_mark.line + 1
            yield from lines_of(value, here)
