"""What became of every row: read = kept + rejected, each rejected row with its file, line and reason.

Knows places and counts; knows nothing of what is in a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from stepladder.errors import DataError
from stepladder.io.serialise import to_plain

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
class FileFacts:
    """What reading one file found out about it.

    Attributes:
        name: The file as messages name it.
        format: `csv`, `tsv`, `jsonl`, `json`, `parquet` or `hub`.
        rows: Number of records, unreadable ones included.
        columns: Column names.
        encoding: Codec of a text file, else None.
        delimiter: Field separator of a csv or tsv file, else None.
        header_line: Whether the column names were read from the file's first line.
    """

    name: str
    format: str
    rows: int
    columns: tuple[str, ...]
    encoding: str | None = None
    delimiter: str | None = None
    header_line: bool = False

    def __str__(self) -> str:
        """One line for people: `rows.csv: csv, 60 rows, delimiter ';', encoding utf-8`."""
        parts = [self.format, f"{self.rows} {'row' if self.rows == 1 else 'rows'}"]
        if self.delimiter is not None:
            parts.append(f"delimiter {shown(self.delimiter)}")
        if self.encoding is not None:
            parts.append(f"encoding {self.encoding}")
        return f"{self.name}: {', '.join(parts)}"


def shown(delimiter: str) -> str:
    """A delimiter as messages write it."""
    return {"\t": "tab", " ": "space"}.get(delimiter, f"'{delimiter}'")


@dataclass(frozen=True)
class Rejected:
    """A row that is not used, and why."""

    place: Place
    reason: str

    @property
    def overlaps(self) -> bool:
        """Whether it is a sound row that was taken out because a held-out row has its question or its group."""
        return self.reason.startswith("overlap:")


@dataclass(frozen=True)
class FileCounts:
    """How many rows of one file were read, kept and rejected."""

    read: int
    kept: int
    rejected: int


@dataclass(frozen=True)
class FileFormat:
    """How one file was read; encoding and delimiter are None where the format has none."""

    format: str
    encoding: str | None
    delimiter: str | None


@dataclass(frozen=True)
class RejectedRow:
    """Where a rejected row is, and why it is rejected."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows of a dataset, as results show it: read = kept + rejected (see `Accounts`)."""

    read: int
    kept: int
    rejected: int = 0
    overlap: int = 0
    duplicates: int = 0
    limited: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    notes: tuple[str, ...] = ()
    files: Mapping[str, FileCounts] = field(default_factory=dict)
    formats: Mapping[str, FileFormat] = field(default_factory=dict)
    rejected_rows: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True)
class Accounts:
    """The rows of all files of a dataset.

    `overlap`: training and validation rows that ask what a held-out row asks, or are of the group of one. `duplicates`:
    kept rows that ask what an earlier kept row of their split asks. `limited`: kept rows that `limit` leaves unused.
    `places`: where new questions are in their file, in their order; `Loaded.places` has those of a dataset.
    `files`: what reading each file found out about it.
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
    places: tuple[Place, ...] = ()
    files: tuple[FileFacts, ...] = ()

    @property
    def rejected(self) -> int:
        return len(self.rejections)

    @property
    def kept(self) -> int:
        return sum(self.read.values()) - self.rejected

    def without(self, reasons: Mapping[Place, str]) -> Accounts:
        """The same accounts after the rows at these `places` were rejected as well."""
        rejected = tuple(Rejected(place, reasons[place]) for place in self.places if place in reasons)
        return replace(
            self,
            rejections=(*self.rejections, *rejected),
            notes=(*self.notes, skipped_note(rejected)),
            places=tuple(place for place in self.places if place not in reasons),
        )

    def counts(self) -> RowCounts:
        """The counts, with at most 100 of the rejected rows."""
        lost = Counter(r.place.file for r in self.rejections)
        return RowCounts(
            read=sum(self.read.values()),
            kept=self.kept,
            rejected=self.rejected,
            overlap=self.overlap,
            duplicates=self.duplicates,
            limited=self.limited,
            train=self.train,
            validation=self.validation,
            test=self.test,
            notes=self.notes,
            files={name: FileCounts(n, n - lost[name], lost[name]) for name, n in self.read.items()},
            formats={each.name: FileFormat(each.format, each.encoding, each.delimiter) for each in self.files},
            rejected_rows=tuple(RejectedRow(r.place.file, r.place.line, r.reason) for r in self.rejections[:LISTED]),
        )

    def as_dict(self) -> Any:
        """The counts as plain data."""
        return to_plain(self.counts())


def bad_rows_error(bad: Sequence[Rejected], read: int) -> DataError:
    """The error for bad rows that are not to be skipped; it names the first."""
    first, count = bad[0], len(bad)
    return DataError(
        f"A bad row: {first.reason} ({count} bad {'row' if count == 1 else 'rows'} of {read} read)",
        str(first.place),
        "fix the file, or set dataset.on_bad_row=skip to go on without its bad rows",
    )


def skipped_note(bad: Sequence[Rejected]) -> str:
    """The note for bad rows that are skipped."""
    rows = "1 bad row" if len(bad) == 1 else f"{len(bad)} bad rows"
    return f"{rows} skipped, the first: {bad[0].place}: {bad[0].reason}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


class Ledger:
    """Written while a dataset is read; `settle` stops the reading where bad rows are not to be skipped."""

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.on_bad_row = on_bad_row
        self.read: dict[str, int] = {}
        self.rejections: list[Rejected] = []
        self.notes: list[str] = []
        self.files: list[FileFacts] = []
        self.bad: list[Rejected] = []
        self.remarks: dict[str, list[Place]] = {}

    def saw(self, file: str, rows: int) -> None:
        self.read[file] = self.read.get(file, 0) + rows

    def knows(self, files: Sequence[FileFacts], notes: Sequence[str]) -> None:
        """What reading files found out about them; a file that serves two parts is known once."""
        self.files += [file for file in files if file not in self.files]
        self.notes += [note for note in notes if note not in self.notes]

    def bad_row(self, place: Place, reason: str) -> None:
        """A row that can not be used as it is."""
        self.bad.append(Rejected(place, reason))

    def take_out(self, place: Place, reason: str) -> None:
        """A sound row that has to go."""
        self.rejections.append(Rejected(place, reason))

    def remark(self, what: str, place: Place) -> None:
        """Something about a row that is used which a person should know, such as a part of it that is not."""
        self.remarks.setdefault(what, []).append(place)

    def all_notes(self) -> tuple[str, ...]:
        """The notes, then one note per remark with the number of rows and the first of them."""
        counted = [f"{_rows(len(places))}: {what} (the first: {places[0]})" for what, places in self.remarks.items()]
        return (*self.notes, *counted)

    def settle(self) -> None:
        """Raises DataError at the first bad row unless bad rows are skipped."""
        if self.bad and self.on_bad_row == "stop":
            raise bad_rows_error(self.bad, sum(self.read.values()))
        if self.bad:
            self.notes.append(skipped_note(self.bad))
        self.rejections += self.bad
        self.bad = []
