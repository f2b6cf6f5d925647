"""What can go wrong, in two kinds.

    StepladderError
    ├── UserError            something the user can mend: what, where, what to do; exit 2, no traceback
    │   ├── ConfigError      one or more faults in a configuration, told all at once
    │   ├── DataError        a file, a row or a column
    │   ├── ModelError       weights, tokenizer, window, adapter
    │   └── StoreError       a folder of the store
    ├── RankError            a process of a fit over several devices was lost; exit 2, the next start goes on
    └── VerificationError    a check that the user asked for did not hold; exit 3

Everything else that is raised is a bug and shows its traceback. To add an error, give it the parent whose exit code it
shares, and say in its message what was found, where, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

LONGEST_NAME, MOST_NAMES = 200, 1000


class StepladderError(Exception):
    """Any error that Stepladder raises on purpose: `what` was found, `where` it stands (a config key, a file and row, a
    folder), what `to_do` about it."""

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
    """Something the user can mend."""


class DataError(UserError):
    """A file, a row or a column that can not be read as the configuration says."""


class ModelError(UserError):
    """Weights, tokenizer, window or adapter that do not fit."""


class StoreError(UserError):
    """A folder of the store that can not be used."""


class RankError(StepladderError, RuntimeError):
    """One of the processes that train together was lost; what the fit left is whole and goes on with the next start.

    rows: where memory was too small for so many at once; else None.
    """

    def __init__(self, what: str, where: str = "", to_do: str = "", rows: int | None = None) -> None:
        super().__init__(what, where, to_do)
        self.rows = rows


class VerificationError(StepladderError):
    """A check that the user asked for did not hold; `told` is what was found, as plain data."""

    def __init__(self, what: str, told: Mapping[str, Any] | None = None) -> None:
        super().__init__(what)
        self.told = told


@dataclass(frozen=True)
class Fault:
    """One thing wrong in a configuration: `what`, at which `key`, what `to_do`."""

    key: str
    what: str
    to_do: str = ""


class ConfigError(UserError):
    """One or more faults in a configuration; all are told at once.

    `sound`: the overrides without a fault, where some had one and the rest can be looked at by itself.
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


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint that names the nearest of `known`, else lists them. Of long texts, and of many, only the first part is
    looked at: to compare them takes the square of their length."""
    known = [each for each in known if len(each) <= LONGEST_NAME][:MOST_NAMES]
    near = get_close_matches(name[:LONGEST_NAME], known, n=1, cutoff=0.6)
    if near:
        return f"did you mean '{near[0]}'?"
    return "known here: " + ", ".join(sorted(known)) if known else "nothing is known here"
