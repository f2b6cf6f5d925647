"""The candidates of a searched instruction: from a file, from wordings of the task's instruction, from a proposer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from stepladder.config.schema import Instructions
from stepladder.config.space import Parameter, text_parameter
from stepladder.errors import ConfigError, Fault
from stepladder.types import Task

INSTRUCTION = "prompt.instruction"


def listed_candidates(settings: Instructions) -> list[str]:
    """The candidates of the file, then the wordings.

    Raises:
        ConfigError: The file cannot be read, or it has no instruction.
    """
    own = [] if settings.file is None else _from_file(settings.file)
    return list(dict.fromkeys([*own, *settings.templates]))


def instruction_parameter(settings: Instructions, proposals: Sequence[str] = ()) -> Parameter:
    """The parameter `prompt.instruction`: the task's own instruction (null) first, then every other candidate once.

    Raises:
        ConfigError: The file cannot be read, or it has no instruction; there is nothing but the task's own.
    """
    candidates = list(dict.fromkeys([*listed_candidates(settings), *proposals]))
    if not candidates:
        to_do = "give sweep.instructions.file, templates or sweep.proposer"
        raise ConfigError(Fault("sweep.instructions", "the task's own instruction is the only candidate", to_do))
    faults = [
        Fault("sweep.instructions", f"'{text}' contains ${{, which the configuration would replace", "write it without")
        for text in candidates
        if "${" in text
    ]
    if faults:
        raise ConfigError(faults)
    return text_parameter(INSTRUCTION, candidates)


def check_task(settings: Instructions, task: Task) -> None:
    """Raise ConfigError for templates around the instruction of a task that has none."""
    if settings.templates and not task.instruction:
        what = "the task has no instruction that the templates could be put around"
        to_do = "set dataset.task.instruction, or sweep.instructions.templates=[] and sweep.instructions.file"
        raise ConfigError(Fault("sweep.instructions.templates", what, to_do))


def _from_file(name: str) -> list[str]:
    key, path = "sweep.instructions.file", Path(name).expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(Fault(key, f"there is no file '{name}'", "name a text file or a json list")) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Fault(key, f"'{name}' cannot be read: {error}", "name a text file in UTF-8")) from error
    lines = _json_list(key, name, text) if path.suffix == ".json" else text.splitlines()
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError(Fault(key, f"'{name}' contains no instruction", "write one instruction per line"))
    return found


def _json_list(key: str, name: str, text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigError(Fault(key, f"'{name}' is not JSON: {error}", 'write a list: ["...", "..."]')) from error
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ConfigError(Fault(key, f"'{name}' is not a list of texts", 'write a list: ["...", "..."]'))
    return found
