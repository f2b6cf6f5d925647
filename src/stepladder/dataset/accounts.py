"""Counts of the rows of a dataset: read = kept + rejected, and file, line and reason of every rejected row."""

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
    """Why one row cannot be used. Caught within this package."""


@dataclass(frozen=True)
class Place:
    """The position of a row in a file: `line` counts from 1, in the `unit` of the format (line, item, row,
    question)."""

    file: str
    line: int
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.line}"


@dataclass(frozen=True)
class FileFacts:
    """What was detected while reading a file.

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
        """One line: `rows.csv: csv, 60 rows, delimiter ';', encoding utf-8`."""
        parts = [self.format, f"{self.rows} {'row' if self.rows == 1 else 'rows'}"]
        if self.delimiter is not None:
            parts.append(f"delimiter {delimiter_name(self.delimiter)}")
        if self.encoding is not None:
            parts.append(f"encoding {self.encoding}")
        return f"{self.name}: {', '.join(parts)}"


def delimiter_name(delimiter: str) -> str:
    """A delimiter as it is written in messages."""
    return {"\t": "tab", " ": "space"}.get(delimiter, f"'{delimiter}'")


@dataclass(frozen=True)
class Rejected:
    """A row that is not used, and the reason."""

    place: Place
    reason: str

    @property
    def overlaps(self) -> bool:
        """Whether the row was dropped because a held-out row has the same question or group."""
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
    """Counts of the rows of all files of a dataset.

    Attributes:
        read: Number of rows by file.
        rejections: The rejected rows.
        overlap: Number of training and validation rows with the question or the group of a held-out row.
        duplicates: Number of kept rows with the same question as an earlier kept row of their split.
        limited: Number of kept rows that `limit` leaves unused.
        train: Number of training rows.
        validation: Number of validation rows.
        test: Number of test rows.
        notes: Sentences for the user.
        places: Positions of new questions in their file, in order; `Loaded.places` has those of a dataset.
        files: What was detected in each file.
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
        """The counts after the rows at these places were also rejected, with the given reasons."""
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
    """The error for bad rows with `on_bad_row=stop`; it names the first of them."""
    first, count = bad[0], len(bad)
    return DataError(
        f"A bad row: {first.reason} ({count} bad {'row' if count == 1 else 'rows'} of {read} read)",
        str(first.place),
        "fix the file, or set dataset.on_bad_row=skip to continue without its bad rows",
    )


def skipped_note(bad: Sequence[Rejected]) -> str:
    """The note for bad rows that are skipped."""
    rows = "1 bad row" if len(bad) == 1 else f"{len(bad)} bad rows"
    return f"{rows} skipped, the first: {bad[0].place}: {bad[0].reason}"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


class RowLog:
    """Collects counts, rejected rows and notes while a dataset is read."""

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.on_bad_row = on_bad_row
        self.read: dict[str, int] = {}
        self.rejections: list[Rejected] = []
        self.notes: list[str] = []
        self.files: list[FileFacts] = []
        self.bad: list[Rejected] = []
        self.remarks: dict[str, list[Place]] = {}

    def count(self, file: str, rows: int) -> None:
        """Add to the number of rows read from a file."""
        self.read[file] = self.read.get(file, 0) + rows

    def add_files(self, files: Sequence[FileFacts], notes: Sequence[str]) -> None:
        """Add facts and notes of files. A file that is used for two parts is added once."""
        self.files += [file for file in files if file not in self.files]
        self.notes += [note for note in notes if note not in self.notes]

    def reject(self, place: Place, reason: str) -> None:
        """Record a bad row."""
        self.bad.append(Rejected(place, reason))

    def drop(self, place: Place, reason: str) -> None:
        """Record a valid row that is not used, such as an overlapping one."""
        self.rejections.append(Rejected(place, reason))

    def remark(self, what: str, place: Place) -> None:
        """Record a remark on a row that is used, for example that a part of it is ignored."""
        self.remarks.setdefault(what, []).append(place)

    def all_notes(self) -> tuple[str, ...]:
        """The notes, followed by one note per remark with the number of rows and the first of them."""
        counted = [f"{_rows(len(places))}: {what} (the first: {places[0]})" for what, places in self.remarks.items()]
        return (*self.notes, *counted)

    def finish(self) -> None:
        """Count the bad rows as rejected.

        Raises:
            DataError: There are bad rows, and `on_bad_row` is `stop`.
        """
        if self.bad and self.on_bad_row == "stop":
            raise bad_rows_error(self.bad, sum(self.read.values()))
        if self.bad:
            self.notes.append(skipped_note(self.bad))
        self.rejections += self.bad
        self.bad = []
