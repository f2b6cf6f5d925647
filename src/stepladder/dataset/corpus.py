"""What retrieval reads: passages from a corpus file, or from the training rows.

Knows passages and where they come from; knows no index and no search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stepladder.dataset.accounts import Ledger, RowError
from stepladder.dataset.formats import Table
from stepladder.dataset.layouts import flattened, paragraph
from stepladder.dataset.rows import Row, require
from stepladder.dataset.values import text_in
from stepladder.errors import DataError
from stepladder.types import Example, Passage


def of_training(rows: Iterable[Example]) -> tuple[Passage, ...]:
    """Each training row's question and first answer, under the row's id."""
    return tuple(Passage(row.question.id, f"{row.question.text}\n{row.answers[0]}") for row in rows)


def of_table(table: Table, ledger: Ledger) -> tuple[Passage, ...]:
    """The column `text`, under the column `id` where there is one, else under its content's hash; or a squad file's
    paragraphs. Raises DataError for a missing column or an id that comes twice."""
    if "paragraphs" in table.columns:
        passages = flattened(table)[1]
        ledger.saw(table.name, len(passages))
        return passages
    require(["text"], table)
    for file, count in Counter(record.place.file for record in table.records).items():
        ledger.saw(file, count)
    found: dict[str, Passage] = {}
    for record in table.records:
        try:
            if record.fault:
                raise RowError(record.fault)
            text, own_id = text_in(record.values, "text"), text_in(record.values, "id")
            if not text.strip():
                raise RowError("the passage is empty (text)")
        except RowError as error:
            ledger.bad_row(record.place, str(error))
            continue
        passage = Passage(own_id, text) if own_id else paragraph(text)
        if passage.id not in found:
            found[passage.id] = passage
        elif own_id:
            raise DataError(f"Two passages have the id '{own_id}'", str(record.place), "make the ids unique")
        else:
            ledger.take_out(record.place, "the same passage stands in the corpus before")
    return tuple(found.values())


def check_gold(rows: Sequence[Row], corpus: Sequence[Passage], ledger: Ledger) -> list[Row]:
    """The rows whose gold passages are all in the corpus; the others are bad rows."""
    known = {passage.id for passage in corpus}
    sound = []
    for row in rows:
        strange = [gold for gold in row.example.gold if gold not in known]
        if strange:
            ledger.bad_row(row.place, f"the gold passage '{strange[0]}' is not in the corpus")
        else:
            sound.append(row)
    return sound
