"""The exceptions that Stepladder raises on purpose, and the exit codes of the command line.

    StepladderError
    ├── UserError            an error that the user can fix: what, where, what to do; exit code 2, no traceback
    │   ├── ConfigError      one or more faults in a configuration, reported together
    │   ├── DataError        a file, a row or a column
    │   ├── ModelError       weights, tokenizer, context window, adapter
    │   └── StoreError       a directory of the store
    ├── RankError            a process of a fit over several devices was lost; exit code 2, the next start resumes
    └── VerificationError    a check that the user asked for failed; exit code 3

Any other exception is a bug and shows its traceback. A new error inherits from the class with its exit code, and its
message says what was found, where, and how to fix it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

LONGEST_NAME, MOST_NAMES = 200, 1000


class StepladderError(Exception):
    """An error that Stepladder raises on purpose.

    Args:
        what: What is wrong.
        where: A configuration key, a file and row, or a directory.
        to_do: How to fix it.
    """

    def __init__(self, what: str, where: str = "", to_do: str = "") -> None:
        self.what, self.where, self.to_do = what, where, to_do
        super().__init__(what, where, to_do)

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where:      {self.where}")
        if self.to_do:
            lines.append(f"  what to do: {self.to_do}")
        return "\n".join(lines)


class UserError(StepladderError):
    """An error that the user can fix."""


class DataError(UserError):
    """A file, a row or a column cannot be read as configured."""


class ModelError(UserError):
    """Weights, tokenizer, context window or adapter do not fit."""


class StoreError(UserError):
    """A directory of the store cannot be used."""


class RankError(StepladderError, RuntimeError):
    """A process of a fit over several devices was lost. The next start resumes from the last checkpoint.

    Args:
        what: What is wrong.
        where: The process.
        to_do: How to fix it.
        rows: The micro-batch that did not fit into memory; None for another cause.
    """

    def __init__(self, what: str, where: str = "", to_do: str = "", rows: int | None = None) -> None:
        super().__init__(what, where, to_do)
        self.rows = rows


class VerificationError(StepladderError):
    """A check that the user asked for failed; `result` is the JSON object that the command prints."""

    def __init__(self, what: str, result: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.result = result


@dataclass(frozen=True)
class Fault:
    """One fault in a configuration: its `key`, `what` is wrong, and how to fix it (`to_do`)."""

    key: str
    what: str
    to_do: str = ""


class ConfigError(UserError):
    """One or more faults in a configuration, reported together.

    Args:
        faults: The faults.
        sound: The overrides without a fault, if only some have one and the others can be checked separately.
    """

    def __init__(self, faults: Sequence[Fault] | Fault, sound: Sequence[str] | None = None) -> None:
        self.faults = (faults,) if isinstance(faults, Fault) else tuple(dict.fromkeys(faults))
        self.sound = sound
        if len(self.faults) == 1:
            (fault,) = self.faults
            super().__init__(fault.what, fault.key, fault.to_do)
        else:
            super().__init__(f"{len(self.faults)} faults in the configuration")

    def __str__(self) -> str:
        if len(self.faults) == 1:
            return super().__str__()
        lines = [f"{self.what}:"]
        for fault in self.faults:
            lines.append(f"  - {fault.key}: {fault.what}" + (f" ({fault.to_do})" if fault.to_do else ""))
        return "\n".join(lines)


def require(*rules: tuple[bool, Fault]) -> None:
    """Raise ConfigError with the faults of all rules (holds, fault) that do not hold."""
    if faults := [fault for holds, fault in rules if not holds]:
        raise ConfigError(faults)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint with the most similar of the `known` names, or a list of them.

    Long names and long lists are truncated, because the comparison takes quadratic time.
    """
    known = [each for each in known if len(each) <= LONGEST_NAME][:MOST_NAMES]
    near = get_close_matches(name[:LONGEST_NAME], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return "known here: " + ", ".join(sorted(known)) if known else "nothing is known here"
