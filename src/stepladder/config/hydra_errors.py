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
    """The fault behind an error of Hydra or OmegaConf; `texts` are the overrides of the command line."""
    message = "\n".join(line.strip() for line in str(error).splitlines() if line.strip())
    where = _file(message, folders) or "the command line"
    missing = re.search(r"Could not override '([^']+)'", message)
    lines = [f.where(choice.line) for f in files for choice in f.choices if missing and choice.group == missing[1]]
    where = lines[-1] if lines else where
    fault = _of_choices(message, where, folders, texts) or _of_values(message, where, texts)
    first = message.splitlines()[0] if message else type(error).__name__
    what = f"the configuration does not compose: {first}"
    return fault or Fault(_full_key(message) or where, what, "'stepladder show' prints the keys there are")


def _file(message: str, folders: Sequence[Path]) -> str:
    """The file that Hydra's message is about."""
    named = re.search(
        r"[Ii]n '?([\w/.-]+?)'?:|^In ([\w/.-]+):|Invalid defaults list in '([^']+)'|Error loading '([^']+)'", message
    )
    if named is None:
        return ""
    name = next(group for group in named.groups() if group)
    group, _, option = name.rpartition("/")
    return str(file_of(folders, group or ".", option) or name)


def _full_key(message: str) -> str | None:
    """The key that OmegaConf's message is about."""
    found = re.search(r"full_key: (\S+)", message)
    return found[1] if found else None


def _as_typed(key: str, texts: Sequence[str]) -> str | None:
    """The override of a key."""
    return next((text for text in texts if text.lstrip("+~").partition("=")[0] == key), None)


def _of_choices(message: str, where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault | None:
    """The fault behind a message about a defaults list or the choice of an option."""
    if found := re.search(r"Could not (?:find|load) '([^']+)'", message):
        group, _, option = found[1].rpartition("/")
        what = f"{group} has no option '{option}'" if group else f"there is no file '{option}.yaml'"
        return Fault(where, what, did_you_mean(option, options(folders, group)))
    no_match = r"Could not override '([^']+)'\.(?: No match in the defaults list|\s*Did you mean to override)"
    if found := re.search(no_match, message):
        return _no_match(found[1], where, folders, texts)
    if found := re.search(r"Multiple values for ([^\s]+)\. To override", message):
        text = _as_typed(found[1], texts)
        to_do = f"write {text.lstrip('+')}" if text else f"write - override /{found[1]}: OPTION"
        return Fault(text or where, f"'{found[1]}' has an option already, and another one is added", to_do)
    if "Invalid defaults list in" in message:
        what = "the defaults are a list, with a dash before each entry"
        return Fault(where, what, "write - override /GROUP: OPTION")
    if re.search(
        r"Too many keys in default item|Missing group name in|Unsupported (?:item value|type) in def", message
    ):
        to_do = "write one entry a line, with one dash and one key each: - override /GROUP: OPTION"
        return Fault(where, "an entry of the defaults list is not one GROUP: OPTION", to_do)
    return None


def _no_match(key: str, where: str, folders: Sequence[Path], texts: Sequence[str]) -> Fault:
    what = f"no chosen option has the group '{key}'"
    if where == "the command line":
        text = _as_typed(key, texts) or key
        return Fault(text, what, f"write +{text.lstrip('+')} to add it, or choose the option that has it")
    name = key.partition("@")[0].rpartition("/")[2]
    if any((folder / name).is_dir() for folder in folders) and Path(where).is_file():
        lines = Path(where).read_text(encoding="utf-8", errors="replace").splitlines()
        line = next((n for n, text in enumerate(lines, 1) if "override" in text and name in text), 1)
        return Fault(f"{where}, line {line}", what, f"write - override /{name}@_global_.{name}: OPTION")
    return Fault(where, what, "remove the line, or choose the option that has this group")


def _of_values(message: str, where: str, texts: Sequence[str]) -> Fault | None:
    """The fault behind a message about a value: an override of it, or an interpolation in it."""
    key = _full_key(message) or where
    if found := re.search(r"Could not append to config\. An item is already at '([^']+)'", message):
        text = _as_typed(found[1], texts) or found[1]
        return Fault(text, f"there is a key '{found[1]}' already", f"write {text.lstrip('+')}")
    if found := re.search(r"Could not override '([^']+)'", message):
        text = _as_typed(found[1], texts) or found[1]
        return Fault(text, f"the configuration has no key '{found[1]}'", f"write +{text.lstrip('+')} to add it")
    if found := re.search(r"Could not delete (?:from config\. )?'([^'=]+)", message):
        text = _as_typed(found[1], texts) or f"~{found[1]}"
        return Fault(text, f"there is nothing named '{found[1]}' to remove", "'stepladder show' prints what is chosen")
    if found := re.search(r"Interpolation key '([^']+)' not found", message):
        written = f"${{{found[1]}}}"
        text = next((text for text in texts if written in text), "")
        plain = (text or written).replace("${", "\\${")
        plain = shell_word(*plain.split("=", 1)) if text and "'" in plain else f"'{plain}'"
        to_do = f"name a key that it has, or for the characters themselves write {plain}"
        return Fault(key, f"{written} refers to a key that the configuration does not have", to_do)
    if found := re.search(r"Unsupported interpolation type (\S+)", message):
        to_do = "write \\${ for the characters themselves, or ${KEY} with the name of a key"
        return Fault(key, f"'${{{found[1]}:' is not a resolver that a configuration can use", to_do)
    if re.search(r"(?i)recursive interpolation|maximum recursion", message):
        return Fault(key, "this value refers to itself through other values", "write the value")
    return None
