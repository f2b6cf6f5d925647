"""The order of training rows, and batches as tensors.

The order is a function of the seed and the step alone, so that training can resume at any step without a
loader's state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow

LENGTH_GROUP = 8
"""The rows of so many batches are drawn together and sorted by length, so that a batch has rows of similar length."""


class Batch(NamedTuple):
    """A micro-batch, padded on the right: three tensors (rows, length)."""

    ids: Tensor
    mask: Tensor
    answer: Tensor


class Step:
    """The effective batch of one optimiser step. `number` counts from one.

    A plain class, which Lightning passes on unchanged; tensors are made in the training step.
    """

    def __init__(self, number: int, rows: Sequence[TrainingRow]) -> None:
        self.number, self.rows = number, rows
        self.tokens = sum(row.length for row in rows)
        self.answer_tokens = sum(len(row.answer_ids) for row in rows)


@dataclass(frozen=True)
class TokenBudget:
    """The size of a micro-batch: so many `rows`, or if None as many as have `tokens` tokens with padding."""

    tokens: int
    rows: int | None = None

    def holds(self, rows: int, longest: int) -> bool:
        return rows <= self.rows if self.rows else rows * longest <= self.tokens

    def halved(self, parts: Sequence[Sequence[TrainingRow]]) -> TokenBudget | None:
        """Half the size of the largest micro-batch in `parts`; None where each has one row."""
        several = [part for part in parts if len(part) > 1]
        if not several:
            return None
        if self.rows is not None:
            return TokenBudget(self.tokens, max(len(part) for part in several) // 2)
        return TokenBudget(max(len(part) * part[0].length for part in several) // 2)


def epoch_order(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The effective batches of an epoch, as indices of rows; every row once."""
    draw = np.random.default_rng([seed % 2**32, epoch])
    order = draw.permutation(len(lengths))
    group = batch_size * LENGTH_GROUP
    groups = [order[start : start + group] for start in range(0, len(order), group)]
    by_length = np.concatenate([part[np.argsort(np.take(lengths, part), kind="stable")] for part in groups])
    batches = [by_length[start : start + batch_size].tolist() for start in range(0, len(by_length), batch_size)]
    return [batches[i] for i in draw.permutation(len(batches))]


def split(rows: Sequence[TrainingRow], budget: TokenBudget) -> Iterator[list[TrainingRow]]:
    """Micro-batches of rows of similar length, longest first, within `budget`; a row that exceeds it is alone."""
    kept: list[TrainingRow] = []
    for row in sorted(rows, key=lambda row: -row.length):
        if kept and not budget.holds(len(kept) + 1, kept[0].length):
            yield kept
            kept = []
        kept.append(row)
    if kept:
        yield kept


def collate(rows: Sequence[TrainingRow]) -> Batch:
    """Rows as padded tensors (rows, length); `answer` is true at the answers' tokens, end tokens included."""
    shape = len(rows), max(row.length for row in rows)
    ids = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.bool)
    answer = torch.zeros(shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : row.length] = torch.tensor([*row.prompt_ids, *row.answer_ids])
        mask[i, : row.length] = True
        answer[i, len(row.prompt_ids) : row.length] = True
    return Batch(ids, mask, answer)


@dataclass(frozen=True)
class Steps:
    """The steps of a training, in order, from the one that follows step `after`."""

    rows: Sequence[TrainingRow]
    training: Training
    seed: int
    after: int = 0

    @property
    def total(self) -> int:
        return self.training.steps(len(self.rows))

    def __len__(self) -> int:
        return self.total - self.after

    @property
    def per_epoch(self) -> int:
        return self.total // self.training.epochs

    def __iter__(self) -> Iterator[Step]:
        for epoch in range(self.training.epochs):
            yield from self.of_epoch(epoch, self.after)

    def of_epoch(self, epoch: int, after: int) -> Iterator[Step]:
        """The steps of `epoch` (counted from zero) whose number is greater than `after`."""
        lengths = [row.length for row in self.rows]
        batches = epoch_order(lengths, self.training.batch_size, self.seed, epoch)
        for number, indices in enumerate(batches, start=epoch * self.per_epoch + 1):
            if number > after:
                yield Step(number, [self.rows[i] for i in indices])
