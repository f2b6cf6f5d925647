"""What is done where memory is too small for the rows that are in the machine at once: half as many, and once more.

Knows rows, rooms and generators; knows no loss. What is computed of an effective batch does not hang on how it is cut.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from stepladder.distributed.collectives import Ranks
from stepladder.errors import ModelError, RankError
from stepladder.resources import Resources
from stepladder.tuning.batches import Batch, Room, collate, split
from stepladder.tuning.tuning import TrainingRow

T = TypeVar("T")

TOO_LARGE = "shorten the prompts (retrieval.k, demonstrations.k), or take a smaller model or adapter"

SAID = ("out of memory", "can't allocate memory", "not enough memory")
"""What torch says of it in errors of no kind of their own."""


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(said in str(error) for said in SAID)
    )


@dataclass
class Fitting:
    """Cuts this rank's share of rows into micro-batches of a `room` that fits, for `resources` to be told when it has
    to be smaller. Each of several ranks finds that out for itself, and afterwards all have the smallest room."""

    room: Room
    device: torch.device
    resources: Resources
    ranks: Ranks = field(default_factory=Ranks)

    def __call__(self, rows: Sequence[TrainingRow], work: Callable[[list[Batch]], T]) -> T:
        """What `work` gives of the rows' micro-batches. It is begun again, from the same place of the generators, with
        half as many rows at once as often as memory runs out. Raises ModelError where one row alone is too much."""
        drawn, own = self._generators(), self.ranks.share(rows)
        while True:
            parts = list(split(own, self.room))
            try:
                found = work([*map(self._batch, parts), *self._spare(rows, len(parts))])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(parts, error)
            else:
                self._agree()
                return found
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self._put_back(drawn)

    def _spare(self, rows: Sequence[TrainingRow], parts: int) -> list[Batch]:
        """Micro-batches of which nothing is learnt: where weights lie in pieces, all ranks pass as often."""
        if not self.ranks.sharded:
            return []
        batch = self._batch(rows[:1])
        return [batch._replace(answer=torch.zeros_like(batch.answer))] * (self.ranks.max(parts) - parts)

    def _agree(self) -> None:
        rows = self.room.rows
        smallest = Room(self.ranks.min(self.room.tokens), rows and self.ranks.min(rows))
        if smallest != self.room:
            self._take(smallest)

    def go_on(self) -> None:
        """Start with the micro-batch of an earlier attempt, as its figures say."""
        figures = self.resources.report.figures
        if "rows_at_once" in figures or "tokens_at_once" in figures:
            rows = figures.get("rows_at_once")
            self.room = Room(int(figures.get("tokens_at_once", self.room.tokens)), None if rows is None else int(rows))

    def _halve(self, parts: Sequence[Sequence[TrainingRow]], error: BaseException) -> None:
        if self.ranks.sharded:  # all are in the middle of one pass, which none of them can begin again
            rows = max(map(len, parts))
            raise RankError(f"A device's memory is too small for {rows} rows at once", "compute", TOO_LARGE, rows)
        room = self.room.halved(parts)
        if room is None:
            longest = max(part[0].length for part in parts)
            raise ModelError(
                f"The machine's memory is too small for one row at once, of {longest} tokens",
                "compute",
                TOO_LARGE,
            ) from error
        self._take(room)

    def _take(self, room: Room) -> None:
        self.room = room
        what = {"tokens_at_once": room.tokens} if room.rows is None else {"rows_at_once": room.rows}
        self.resources.report.record(what)
        ((name, number),) = what.items()
        self.resources.progress.note(
            f"out of memory: from here on at most {number:,} {name.partition('_')[0]} at once; batch size and loss stay"
        )

    def _batch(self, rows: Sequence[TrainingRow]) -> Batch:
        return Batch(*(part.to(self.device) for part in collate(rows)))

    def _generators(self) -> list[Any]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [])]

    def _put_back(self, drawn: Sequence[Any]) -> None:
        torch.set_rng_state(drawn[0])
        if len(drawn) > 1:
            torch.cuda.set_rng_state(drawn[1], self.device)
