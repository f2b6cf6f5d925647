"""Splits rows into training, validation and test rows by a hash of their content.

The split of a row depends on a hash of its question, or of its group, so that a new row moves no other row. Rows with
the same question and rows of one group stay in the same split.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stepladder.dataset.accounts import RowLog
from stepladder.dataset.rows import Row
from stepladder.errors import ConfigError, DataError, Fault

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")
OnOverlap = Literal["drop", "stop", "keep"]


@dataclass(frozen=True)
class Split:
    """The shares of the training rows that are held out if no file is given for them."""

    test: float = 0.3
    validation: float = 0.1

    def __post_init__(self) -> None:
        faults = [
            Fault(name, f"{share} is not a share", "give a number from 0 to below 1")
            for name, share in (("test", self.test), ("validation", self.validation))
            if not (_is_number(share) and 0 <= share < 1)
        ]
        if not faults and self.test + self.validation >= 1:
            faults = [
                Fault(
                    "", f"{self.test} and {self.validation} leave no training rows", "choose shares with a sum below 1"
                )
            ]
        if faults:
            raise ConfigError(faults)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _position(text: str) -> float:
    """A hash of the text as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"split:{text}".encode()).digest()[:8]) / 2**64


@dataclass
class _Unit:
    """Rows that must stay together; `members` are their indices."""

    members: list[int]
    position: float
    labels: set[str]
    side: Side = "train"


def divide(rows: Sequence[Row], split: Split, labelled: bool) -> dict[Side, list[Row]]:
    """Split rows into training, validation and test rows.

    Args:
        rows: The rows.
        split: The shares.
        labelled: Keep a training row of every label, and a test row if it has enough rows.

    Raises:
        DataError: Test rows are requested and none can be held out.
    """
    units = sorted(_units(rows, labelled), key=lambda unit: unit.position)
    for unit in units:
        if unit.position < split.test:
            unit.side = "test"
        elif unit.position < split.test + split.validation:
            unit.side = "validation"
    _ensure_labels(units, split)
    side_of = {member: unit.side for unit in units for member in unit.members}
    parts: dict[Side, list[Row]] = {"train": [], "validation": [], "test": []}
    for number, row in enumerate(rows):
        parts[side_of[number]].append(row)
    if split.test and not parts["test"]:
        raise DataError(
            "No row can be held out for testing: too few rows (or groups) with different questions",
            "dataset.split.test",
            "give dataset.test=FILE, or more rows (at least two per label)",
        )
    return parts


def _units(rows: Sequence[Row], labelled: bool) -> list[_Unit]:
    """Connected components of rows with an equal question or an equal group."""
    parent = list(range(len(rows)))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]
        return number

    first: dict[tuple[str, str], int] = {}
    questions = [row.question_key for row in rows]
    for number, row in enumerate(rows):
        ties = [("question", questions[number])] + (
            [("group", row.question.group)] if row.question.group is not None else []
        )
        for tie in ties:
            parent[root(number)] = root(first.setdefault(tie, number))
    gathered: defaultdict[int, list[int]] = defaultdict(list)
    for number in range(len(rows)):
        gathered[root(number)].append(number)
    units = []
    for members in gathered.values():
        groups = [g for g in (rows[m].question.group for m in members) if g is not None]
        name = f"group:{min(groups)}" if groups else f"asks:{questions[members[0]]}"
        labels = {rows[m].example.answers[0] for m in members} if labelled else {""}
        units.append(_Unit(members, _position(name), labels))
    return units


def _ensure_labels(units: Sequence[_Unit], split: Split) -> None:
    """Move the fewest units so that no label is missing. Units are sorted by position."""
    by_label: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        for label in unit.labels:
            by_label[label].append(unit)
    for _, having in sorted(by_label.items()):
        if split.test and len(having) > 1 and not any(u.side == "test" for u in having):
            having[0].side = "test"
    for _, having in sorted(by_label.items()):
        if not any(u.side == "train" for u in having):
            having[-1].side = "train"
    wanted: tuple[tuple[Side, float], ...] = (("test", split.test), ("validation", split.validation))
    for side, share in wanted:
        if share and not any(u.side == side for u in units):
            left = Counter(label for u in units if u.side == "train" for label in u.labels)
            spare = [u for u in units if u.side == "train" and all(left[label] > 1 for label in u.labels)]
            if spare:
                spare[0].side = side


@dataclass(frozen=True)
class _Overlap:
    """A training or validation row that shares the question, or only the group, with a held-out row."""

    side: Side
    row: Row
    other: Side
    twin: Row
    by_group: bool

    def __str__(self) -> str:
        shared = (
            f"has the same group '{self.row.question.group}' as a {_named(self.other)} row"
            if self.by_group
            else f"has the same question as a {_named(self.other)} row"
        )
        return f"overlap: this {_named(self.side)} row {shared} ({self.twin.place})"


def without_overlap(
    parts: Mapping[Side, list[Row]], policy: OnOverlap, log: RowLog
) -> tuple[dict[Side, list[Row]], int]:
    """Drop training and validation rows with the question or the group of a held-out row.

    Test rows never change. If a training and a validation row overlap, the training row is dropped. A row is counted
    once, with one reason; an equal question takes precedence over an equal group.

    Returns:
        The parts without overlapping rows (unchanged with the policy `keep`), and the number of overlapping rows.

    Raises:
        DataError: There are overlapping rows, and the policy is `stop`.
    """
    by_question: dict[str, tuple[Side, Row]] = {}
    by_group_name: dict[str, tuple[Side, Row]] = {}
    kept: dict[Side, list[Row]] = {"test": [], "validation": [], "train": []}
    found: list[_Overlap] = []
    sides: tuple[Side, ...] = ("test", "validation", "train")
    for side in sides:
        valid = []
        for row in parts[side]:
            group = row.question.group
            if row.question_key in by_question:
                found.append(_Overlap(side, row, *by_question[row.question_key], by_group=False))
            elif group is not None and group in by_group_name:
                found.append(_Overlap(side, row, *by_group_name[group], by_group=True))
            else:
                valid.append(row)
        kept[side] = list(parts[side]) if policy == "keep" else valid
        for row in kept[side]:
            by_question.setdefault(row.question_key, (side, row))
            if row.question.group is not None:
                by_group_name.setdefault(row.question.group, (side, row))
    if found and policy == "stop":
        raise _overlap_error(found)
    if policy == "drop":
        for overlap in found:
            log.drop(overlap.row.place, str(overlap))
    for by_group, one, more in (
        (False, "row has the same question as a held-out row", "rows have the same question as a held-out row"),
        (True, "row has the group of a held-out row", "rows have the group of a held-out row"),
    ):
        if gone := Counter(_named(overlap.side) for overlap in found if overlap.by_group == by_group):
            done = ", ".join(f"{n} dropped from the {name} rows" for name, n in gone.items())
            done = done if policy == "drop" else "kept"
            what = f"{gone.total()} {one if gone.total() == 1 else more}"
            log.notes.append(f"{what}: {done} (dataset.on_overlap={policy})")
    return kept, len(found)


def _named(side: Side) -> str:
    return "training" if side == "train" else side


def _overlap_error(found: Sequence[_Overlap]) -> DataError:
    asks = [overlap for overlap in found if not overlap.by_group]
    groups = [overlap for overlap in found if overlap.by_group]
    what = [f"{len(asks)} have the same question as a held-out row"] if asks else []
    what += [f"{len(groups)} have the group of a held-out row"] if groups else []
    examples = [
        f"{overlap.row.place} and {overlap.twin.place}: "
        + (f"group '{overlap.row.question.group}'" if overlap.by_group else f"'{overlap.row.question.text[:60]}'")
        for overlap in (*asks[:3], *groups[:3])
    ]
    return DataError(
        f"{len(found)} training or validation rows overlap with held-out rows: {' and '.join(what)}",
        "; ".join(examples),
        "remove them, or set dataset.on_overlap=drop (keeps test rows, then validation rows) or keep",
    )


def duplicate_count(rows: Iterable[Row]) -> int:
    """The number of rows with the same question as an earlier row."""
    counts = Counter(row.question_key for row in rows)
    return sum(counts.values()) - len(counts)


def subset(rows: Sequence[Row], count: int | None, draw: int) -> list[Row]:
    """At most `count` rows, chosen by a hash of content and `draw`. A smaller number is a subset of a larger one."""
    if count is None or count >= len(rows):
        return list(rows)
    order = sorted(rows, key=lambda row: hashlib.sha256(f"draw:{draw}:{row.question_key}".encode()).hexdigest())
    chosen = {id(row) for row in order[:count]}
    return [row for row in rows if id(row) in chosen]


def at_most(rows: Sequence[Row], limit: int | None, labelled: bool) -> list[Row]:
    """At most `limit` rows (per label), chosen by a hash of content. A smaller limit is a subset of a larger one."""

    def order(row: Row) -> str:
        return hashlib.sha256(f"limit:{row.question_key}{row.example.answers}".encode()).hexdigest()

    if limit is None:
        return list(rows)
    taken: Counter[str] = Counter()
    chosen = set()
    for row in sorted(rows, key=order):
        label = row.example.answers[0] if labelled else ""
        taken[label] += 1
        if taken[label] <= limit:
            chosen.add(id(row))
    return [row for row in rows if id(row) in chosen]
