"""What became of every row: read = kept + rejected, each rejected row with its file, line and reason.

Knows places and counts; knows nothing of what is in a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stepladder.errors import DataError

OnBadRow = Literal["stop", "skip"]
LISTED = 100


class RowError(Exception):
    """Why one row can not be used. Never leaves this room."""


@dataclass(frozen=True)
class Place:
    """Where a row stands: `line` counts from one, in whatever `unit` the format has (line, item, row, question)."""

    file: str
    line: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True)
class Rejected:
    """A row that is not used, and why."""

    place: Place
    reason: str


@dataclass(frozen=True)
class Accounts:
    """The rows of all files of a dataset.

    `overlap`: training and validation rows that ask what a held-out row asks. `duplicates`: kept rows that ask what an
    earlier kept row of their split asks. `limited`: kept rows that `limit` leaves unused.
    """

    read: Mapping[str, int]
    rejections: tuple[Rejected, ...] = ()
    overlap: int = 0
    duplicates: int = 0
    limited: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def rejected(self) -> int:
        return len(self.rejections)

    @property
    def kept(self) -> int:
        return sum(self.read.values()) - self.rejected

    def as_dict(self) -> dict[str, Any]:
        """Plain data; at most 100 rejected rows are listed, `rejected` counts them all."""
        lost = Counter(r.place.file for r in self.rejections)
        return {
            "read": sum(self.read.values()),
            "kept": self.kept,
            "rejected": self.rejected,
            "overlap": self.overlap,
            "duplicates": self.duplicates,
            "limited": self.limited,
            "train": self.train,
            "validation": self.validation,
            "test": self.test,
            "files": {f: {"read": n, "kept": n - lost[f], "rejected": lost[f]} for f, n in self.read.items()},
            "rejected_rows": [
                {"file": r.place.file, "line": r.place.line, "reason": r.reason} for r in self.rejections[:LISTED]
            ],
        }


class Ledger:
    """Written while a dataset is read; `settle` stops the reading where bad rows are not to be skipped."""

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.on_bad_row = on_bad_row
        self.read: dict[str, int] = {}
        self.rejections: list[Rejected] = []
        self.notes: list[str] = []
        self.bad: list[Rejected] = []

    def saw(self, file: str, rows: int) -> None:
        self.read[file] = self.read.get(file, 0) + rows

    def bad_row(self, place: Place, reason: str) -> None:
        """A row that can not be used as it is."""
        self.bad.append(Rejected(place, reason))

    def take_out(self, place: Place, reason: str) -> None:
        """A sound row that has to go."""
        self.rejections.append(Rejected(place, reason))

    def settle(self) -> None:
        """Raises DataError at the first bad row unless bad rows are skipped."""
        if self.bad and self.on_bad_row == "stop":
            first, count = self.bad[0], len(self.bad)
            all_rows = f"{count} bad {'row' if count == 1 else 'rows'} of {sum(self.read.values())} read"
            raise DataError(
                f"A bad row: {first.reason} ({all_rows})",
                str(first.place),
                "mend the file, or say dataset.on_bad_row=skip to go on without its bad rows",
            )
        if self.bad:
            self.notes.append(f"{len(self.bad)} bad rows skipped, the first: {self.bad[0].place}: {self.bad[0].reason}")
        self.rejections += self.bad
        self.bad = []
