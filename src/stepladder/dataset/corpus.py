"""Reads the passages for retrieval from a corpus file or from the training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stepladder.dataset.accounts import RowError, RowLog
from stepladder.dataset.formats import Table
from stepladder.dataset.layouts import flattened, paragraph
from stepladder.dataset.rows import Row, require
from stepladder.dataset.values import text_in
from stepladder.errors import DataError
from stepladder.types import Example, Passage


def passages_of_rows(rows: Iterable[Example]) -> tuple[Passage, ...]:
    """One passage per training row: its question and first answer, with the row's id."""
    return tuple(Passage(row.question.id, f"{row.question.text}\n{row.answers[0]}") for row in rows)


def passages_of_table(table: Table, log: RowLog) -> tuple[Passage, ...]:
    """The passages of a corpus file: its column `text`, or the paragraphs of a squad file.

    The id of a passage is the column `id`, or a hash of its content.

    Raises:
        DataError: The column `text` is missing, or two passages have the same id.
    """
    if "paragraphs" in table.columns:
        passages = flattened(table)[1]
        log.count(table.name, len(passages))
        return passages
    require(["text"], table)
    for file, count in Counter(record.place.file for record in table.records).items():
        log.count(file, count)
    found: dict[str, Passage] = {}
    for record in table.records:
        try:
            if record.fault:
                raise RowError(record.fault)
            text, own_id = text_in(record.values, "text"), text_in(record.values, "id")
            if not text.strip():
                raise RowError("the passage is empty (text)")
        except RowError as error:
            log.reject(record.place, str(error))
            continue
        passage = Passage(own_id, text) if own_id else paragraph(text)
        if passage.id not in found:
            found[passage.id] = passage
        elif own_id:
            raise DataError(f"Two passages have the id '{own_id}'", str(record.place), "make the ids unique")
        else:
            log.drop(record.place, "the same passage is in the corpus before")
    return tuple(found.values())


def check_gold(rows: Sequence[Row], corpus: Sequence[Passage], log: RowLog) -> list[Row]:
    """The rows whose gold passages are all in the corpus. The other rows are rejected."""
    known = {passage.id for passage in corpus}
    valid = []
    for row in rows:
        unknown = [gold for gold in row.example.gold if gold not in known]
        if unknown:
            log.reject(row.place, f"the gold passage '{unknown[0]}' is not in the corpus")
        else:
            valid.append(row)
    return valid
