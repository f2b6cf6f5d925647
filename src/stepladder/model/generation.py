"""Writing answers, many rows at a time.

Knows token ids, the network and what a row may write next; knows no task. A batch reads its prompts once, then each row
gets a token a step, until its end token or its length; rows that are done leave the batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stepladder.model.chat import Chat
from stepladder.model.grammar import JsonGrammar, JsonWriter
from stepladder.model.language_model import Completion
from stepladder.model.network import Network


@dataclass(frozen=True)
class Draw:
    """How a token is chosen: the likeliest (no `temperature`), or drawn by numbers that belong to the row alone."""

    temperature: float | None
    seed: int

    def stream(self, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, index])


@dataclass
class _Row:
    index: int
    budget: int
    stream: np.random.Generator
    writer: JsonWriter | None
    ids: list[int] = field(default_factory=list)
    finished: bool = False

    def choose(self, logits: Tensor, temperature: float | None) -> int:
        """The next token from one row of logits (vocabulary,)."""
        if self.writer is not None:
            logits = logits.masked_fill(~torch.from_numpy(self.writer.allowed()).to(logits.device), -torch.inf)
        if not temperature:
            return int(logits.argmax())
        upto = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
        drawn = torch.searchsorted(upto, self.stream.random() * upto[-1], right=True)
        return min(int(drawn), len(upto) - 1)

    def take(self, token: int, ends: frozenset[int]) -> bool:
        """Write the token; true when the row is done."""
        if self.writer is not None and token not in ends:
            if self.writer.too_late_for(token, self.budget - len(self.ids)):
                self.ids += self.writer.close()
                self.finished = self.writer.complete
                return True
            self.writer.take(token)
        self.ids.append(token)
        self.finished = token in ends
        return self.finished or len(self.ids) >= self.budget


def generate(
    network: Network,
    chat: Chat,
    prompts: Sequence[Sequence[int]],
    batches: Sequence[Sequence[int]],
    budgets: Sequence[int],
    draw: Draw,
    grammar: JsonGrammar | None = None,
) -> Iterator[tuple[int, Completion]]:
    """Write at most `budgets[i]` tokens after `prompts[i]`, batch by batch. The end token counts as a new token."""
    ends = frozenset({chat.end}) | network.ends
    for batch in batches:
        begun = time.perf_counter()
        rows = [_Row(i, budgets[i], draw.stream(i), grammar.writer() if grammar else None) for i in batch]
        with network.predicting():
            _write(network, [prompts[index] for index in batch], rows, draw.temperature, ends)
        seconds = (time.perf_counter() - begun) / len(batch)
        for row in rows:
            yield row.index, Completion(chat.decode(row.ids), len(row.ids), seconds, row.finished)


def _write(
    network: Network,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[_Row],
    temperature: float | None,
    ends: frozenset[int],
) -> None:
    ids, lengths = network.pad(prompts)
    hidden, read = network.read(ids, lengths)
    positions = read.visible.sum(dim=1, keepdim=True)
    writing = list(rows)
    while True:
        tokens = _next(network.logits(hidden), writing, temperature)
        done = [row.take(token, ends) for row, token in zip(writing, tokens, strict=True)]
        if all(done):
            return
        chosen = torch.tensor(tokens, device=ids.device)[:, None]
        if any(done):
            left = torch.tensor([at for at, over in enumerate(done) if not over], device=ids.device)
            writing = [row for row, over in zip(writing, done, strict=True) if not over]
            read, chosen, positions = read.keep(left), chosen[left], positions[left]
        itself = torch.ones(len(writing), 1, 1, dtype=torch.bool, device=ids.device)
        extended, read = network.extend(read, chosen, positions, itself)
        hidden, positions = extended[:, 0], positions + 1


def _next(logits: Tensor, rows: Sequence[_Row], temperature: float | None) -> list[int]:
    if temperature or any(row.writer for row in rows):
        return [row.choose(of_row.float(), temperature) for row, of_row in zip(rows, logits, strict=True)]
    likeliest: list[int] = logits.argmax(dim=-1).tolist()
    return likeliest
