"""Cuts effective batches into micro-batches, and retries with smaller ones when memory runs out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from stepladder.distributed.collectives import Ranks
from stepladder.errors import ModelError, RankError
from stepladder.resources import Resources
from stepladder.tuning.batches import Batch, TokenBudget, collate, split
from stepladder.tuning.tuning import TrainingRow

T = TypeVar("T")

TOO_LARGE = "shorten the prompts (retrieval.k, demonstrations.k), or take a smaller model or adapter"

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
"""Texts of torch's RuntimeErrors when memory runs out."""


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in OUT_OF_MEMORY)
    )


@dataclass
class MicroBatcher:
    """Cuts this rank's share of rows into micro-batches within `budget`.

    When memory runs out the budget is halved, which `resources` record and report. Several ranks end with the smallest
    budget of all.
    """

    budget: TokenBudget
    device: torch.device
    resources: Resources
    ranks: Ranks = field(default_factory=Ranks)

    def __call__(self, rows: Sequence[TrainingRow], work: Callable[[list[Batch]], T]) -> T:
        """Call `work` with the rows' micro-batches.

        Whenever memory runs out it is called again, with the generators restored and half the budget.

        Raises:
            ModelError: One row alone is too large.
            RankError: The weights are sharded, so that only a new start with smaller micro-batches is possible.
        """
        generators, own = self._generators(), self.ranks.share(rows)
        while True:
            parts = list(split(own, self.budget))
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
            self._restore_generators(generators)

    def _spare(self, rows: Sequence[TrainingRow], parts: int) -> list[Batch]:
        """Micro-batches without answer tokens: with sharded weights all ranks need the same number of passes."""
        if not self.ranks.sharded:
            return []
        batch = self._batch(rows[:1])
        return [batch._replace(answer=torch.zeros_like(batch.answer))] * (self.ranks.max(parts) - parts)

    def _agree(self) -> None:
        rows = self.budget.rows
        smallest = TokenBudget(self.ranks.min(self.budget.tokens), rows and self.ranks.min(rows))
        if smallest != self.budget:
            self._set(smallest)

    def resume(self) -> None:
        """Start with the micro-batch of an earlier attempt, as its figures say."""
        figures = self.resources.report.figures
        if "rows_at_once" in figures or "tokens_at_once" in figures:
            rows = figures.get("rows_at_once")
            self.budget = TokenBudget(
                int(figures.get("tokens_at_once", self.budget.tokens)), None if rows is None else int(rows)
            )

    def _halve(self, parts: Sequence[Sequence[TrainingRow]], error: BaseException) -> None:
        if self.ranks.sharded:  # all ranks are in the middle of one pass, which none of them can repeat
            rows = max(map(len, parts))
            raise RankError(f"A device's memory is too small for {rows} rows at once", "compute", TOO_LARGE, rows)
        budget = self.budget.halved(parts)
        if budget is None:
            longest = max(part[0].length for part in parts)
            raise ModelError(
                f"The machine's memory is too small for one row at once, of {longest} tokens",
                "compute",
                TOO_LARGE,
            ) from error
        self._set(budget)

    def _set(self, budget: TokenBudget) -> None:
        self.budget = budget
        name, number = ("tokens_at_once", budget.tokens) if budget.rows is None else ("rows_at_once", budget.rows)
        self.resources.report.record({name: number})
        self.resources.progress.note(
            f"out of memory: from here on at most {number:,} {name.partition('_')[0]} at once; batch size and loss stay"
        )

    def _batch(self, rows: Sequence[TrainingRow]) -> Batch:
        return Batch(*(part.to(self.device) for part in collate(rows)))

    def _generators(self) -> list[Any]:
        return [torch.get_rng_state(), *([torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else [])]

    def _restore_generators(self, states: Sequence[Any]) -> None:
        torch.set_rng_state(states[0])
        if len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)
