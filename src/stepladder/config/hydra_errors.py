"""Turns what Hydra and OmegaConf report about a failed composition into faults that name the file and the fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stepladder.config.experiment_file import ExperimentFile
from stepladder.config.options import file_of, options
from stepladder.config.quoting import shell_word
from stepladder.errors import Fault, did_you_mean


def explained(
    error: Exception, folders: Sequence[Path], texts: Sequence[str], files: Sequence[ExperimentFile] = ()
) -> Fault:
    """The fault behind an error of Hydra or OmegaConf.

    Args:
        error: What was raised.
        folders: The conf folders.
        texts: The overrides of the command line.
        files: The experiment files that are used.
    """
    message = "\n".join(line.strip() for line in str(error).splitlines() if line.strip())
    file = _file(message, folders)
    where = file or "the command line"
    missing = re.search(r"Could not override '([^']+)'", message)
    for each in (file for file in files for choice in file.choices if missing and choice.group == missing[1]):
        line = next(choice.line for choice in each.choices if missing and choice.group == missing[1])
        where = each.where(line)
    for pattern, say in _KNOWN:
        found = re.search(pattern, message)
        if found:
            return say(found, where, folders, texts)
    key = re.search(r"full_key: (\S+)", message)
    first = message.splitlines()[0] if message else type(error).__name__
    return Fault(
        key[1] if key else where,
        f"the configuration does not compose: {first}",
        "'stepladder show' prints the keys there are",
    )


def _file(message: str, folders: Sequence[Path]) -> str:
    """The file that Hydra's message is about."""
    named = re.search(
        r"[Ii]n '?([\w/.-]+?)'?:|^In ([\w/.-]+):|Invalid defaults list in '([^']+)'|Error loading '([^']+)'", message
    )
    if named is None:
        return ""
    name = next(group for group in named.groups() if group)
    group, _, option = name.rpartition("/")
    found = file_of(folders, group, option) if group else file_of(folders, ".", option)
    return str(found) if found else name


def _missing_file(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    group, _, option = found[1].rpartition("/")
    there = options(folders, group)
    what = f"{group} has no option '{option}'" if group else f"there is no file '{option}.yaml'"
    return Fault(where, what, did_you_mean(option, there))


def _no_match(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = found[1]
    what = f"no chosen option has the group '{key}'"
    if where == "the command line":
        text = next((text for text in texts if text.lstrip("+~").partition("=")[0] == key), key)
        return Fault(text, what, f"write +{text.lstrip('+')} to add it, or choose the option that has it")
    name = key.partition("@")[0].rpartition("/")[2]
    if any((folder / name).is_dir() for folder in folders) and Path(where).is_file():
        lines = Path(where).read_text(encoding="utf-8", errors="replace").splitlines()
        line = next((n for n, text in enumerate(lines, 1) if "override" in text and name in text), 1)
        return Fault(f"{where}, line {line}", what, f"write - override /{name}@_global_.{name}: OPTION")
    return Fault(where, what, "remove the line, or choose the option that has this group")


def _twice(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = found[1]
    text = next((text for text in texts if text.lstrip("+").partition("=")[0] == key), None)
    to_do = f"write {text.lstrip('+')}" if text else f"write - override /{key}: OPTION"
    return Fault(text or where, f"'{key}' has an option already, and another one is added", to_do)


def _no_key(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = found[1]
    text = next((text for text in texts if text.lstrip("+~").partition("=")[0] == key), key)
    return Fault(text, f"the configuration has no key '{key}'", f"write +{text.lstrip('+')} to add it")


def _added_twice(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = found[1]
    text = next((text for text in texts if text.lstrip("+").partition("=")[0] == key), key)
    return Fault(text, f"there is a key '{key}' already", f"write {text.lstrip('+')}")


def _not_deleted(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = found[1].partition("=")[0]
    text = next((text for text in texts if text.lstrip("~").partition("=")[0] == key), f"~{key}")
    return Fault(text, f"there is nothing named '{key}' to remove", "'stepladder show' prints what is chosen")


def _no_reference(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = re.search(r"full_key: (\S+)", found.string)
    what = f"${{{found[1]}}} refers to a key that the configuration does not have"
    text = next((text for text in texts if f"${{{found[1]}}}" in text), None)
    plain = text.replace("${", "\\${") if text else f"\\${{{found[1]}}}"
    plain = shell_word(*plain.split("=", 1)) if text and "'" in plain else f"'{plain}'"
    return Fault(
        key[1] if key else where, what, f"name a key that it has, or for the characters themselves write {plain}"
    )


def _no_resolver(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = re.search(r"full_key: (\S+)", found.string)
    to_do = "write \\${ for the characters themselves, or ${KEY} with the name of a key"
    return Fault(key[1] if key else where, f"'${{{found[1]}:' is not a resolver that a configuration can use", to_do)


def _in_circles(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    key = re.search(r"full_key: (\S+)", found.string)
    return Fault(key[1] if key else where, "this value refers to itself through other values", "write the value")


def _no_list(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    return Fault(where, "the defaults are a list, with a dash before each entry", "write - override /GROUP: OPTION")


def _item(found: re.Match[str], where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    return Fault(
        where,
        "an entry of the defaults list is not one GROUP: OPTION",
        "write one entry a line, with one dash and one key each: - override /GROUP: OPTION",
    )


_KNOWN = (
    (r"Could not (?:find|load) '([^']+)'", _missing_file),
    (r"Could not override '([^']+)'\.(?: No match in the defaults list|\s*Did you mean to override)", _no_match),
    (r"Multiple values for ([^\s]+)\. To override", _twice),
    (r"Could not append to config\. An item is already at '([^']+)'", _added_twice),
    (r"Could not override '([^']+)'", _no_key),
    (r"Could not delete (?:from config\. )?'([^']+)'", _not_deleted),
    (r"Interpolation key '([^']+)' not found", _no_reference),
    (r"Unsupported interpolation type (\S+)", _no_resolver),
    (r"(?i)recursive interpolation|maximum recursion", _in_circles),
    (r"Invalid defaults list in", _no_list),
    (r"Too many keys in default item|Missing group name in|Unsupported (?:item value|type) in defaults", _item),
)
"""Patterns of messages of Hydra and OmegaConf, each with the function that makes the fault."""
