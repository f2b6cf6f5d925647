"""Writing answers, many rows at a time.

Knows token ids, the network and what a row may write next; knows no task. Rows read their prompts, then each gets a
token a step, until its end token or its length. A row that is done makes room for one that waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stepladder.model.chat import Chat
from stepladder.model.grammar import JsonGrammar, JsonWriter
from stepladder.model.language_model import Completion
from stepladder.model.network import Network
from stepladder.model.reading import Reading, begin, shared
from stepladder.model.slots import Prefix

Tokens = Sequence[int]


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
    seconds: float = 0.0
    finished: bool = False
    done: bool = False

    def take(self, token: int, ends: frozenset[int]) -> None:
        """Write the token; afterwards the row may be `done`."""
        if self.writer is not None and token not in ends:
            if self.writer.too_late_for(token, self.budget - len(self.ids)):
                self.ids += self.writer.close()
                self.finished, self.done = self.writer.complete, True
                return
            self.writer.take(token)
        self.ids.append(token)
        self.finished = token in ends
        self.done = self.finished or len(self.ids) >= self.budget


def generate(
    network: Network,
    chat: Chat,
    prompts: Sequence[Tokens],
    waves: Sequence[tuple[int, Sequence[int]]],
    budgets: Sequence[int],
    draw: Draw,
    grammar: JsonGrammar | None = None,
) -> Iterator[tuple[int, Completion]]:
    """Write at most `budgets[i]` tokens after `prompts[i]`; the end token counts as one. What all prompts begin with is
    read once. Of each of `waves` so many rows at once are written, in its order."""
    ends = frozenset({chat.end}) | network.ends
    begun = time.perf_counter()
    prefix = shared(network, prompts)
    spent = (time.perf_counter() - begun) / len(prompts) if prompts else 0.0
    for slots, indices in waves:
        rows = [_Row(i, budgets[i], draw.stream(i), grammar.writer() if grammar else None) for i in indices]
        own = {i: prompts[i][len(prefix.tokens) :] for i in indices}
        writing = _Writing(network, prefix, slots, own, deque(rows), draw.temperature, ends)
        while writing.goes_on:
            with network.predicting():
                done = writing.until_some_are_done()
            for row in done:
                yield row.index, Completion(chat.decode(row.ids), len(row.ids), row.seconds + spent, row.finished)


@dataclass
class _Writing:
    """Rows that wait and rows that are written, `slots` of these at most."""

    network: Network
    prefix: Prefix
    slots: int
    prompts: Mapping[int, Tokens]
    waiting: deque[_Row]
    temperature: float | None
    ends: frozenset[int]
    rows: list[_Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = min(self.slots, len(self.waiting))
        self.room = max(len(self.prompts[row.index]) + row.budget for row in self.waiting)
        self.reading = self._begin()

    @property
    def goes_on(self) -> bool:
        return bool(self.rows or self.waiting)

    def until_some_are_done(self) -> list[_Row]:
        while True:
            begun = time.perf_counter()
            asked, hidden = self._read() if self._has_room else self._extend()
            tokens = _next(self.reading.logits(hidden), asked, self.temperature)
            for row, token in zip(asked, tokens, strict=True):
                row.take(token, self.ends)
            seconds = (time.perf_counter() - begun) / len(asked)
            for row in asked:
                row.seconds += seconds
            if any(row.done for row in asked):
                return self._part()

    @property
    def _has_room(self) -> bool:
        """Rows are read some at a time: one alone costs about as much as a token of all."""
        if not self.waiting or not self.rows:
            return bool(self.waiting)
        free = self.slots - len(self.rows)
        return self.reading.takes_more and free >= min(len(self.waiting), -(-self.slots // 4))

    def _begin(self) -> Reading:
        return begin(self.network, self.prefix, self.slots, self.room)

    def _read(self) -> tuple[list[_Row], Tensor]:
        if not self.rows and not self.reading.takes_more:
            self.reading = self._begin()
        new = [self.waiting.popleft() for _ in range(min(self.slots - len(self.rows), len(self.waiting)))]
        self.rows += new
        return new, self.reading.read([self.prompts[row.index] for row in new])

    def _extend(self) -> tuple[list[_Row], Tensor]:
        last = torch.tensor([row.ids[-1:] for row in self.rows], device=self.network.device)
        return self.rows, self.reading.extend(last)[:, 0]

    def _part(self) -> list[_Row]:
        """Take the rows that are done out; the last ones move to their places."""
        done = [row for row in self.rows if row.done]
        left = len(self.rows) - len(done)
        movable = [at for at in range(left, len(self.rows)) if not self.rows[at].done]
        places = [movable.pop() if self.rows[at].done else at for at in range(left)]
        self.reading.keep(places)
        self.rows = [self.rows[at] for at in places]
        return done


def _next(logits: Tensor, rows: Sequence[_Row], temperature: float | None) -> list[int]:
    """The next token of each row from its logits (rows, vocabulary)."""
    allowed = [row.writer.allowed() for row in rows if row.writer]
    if allowed:
        logits = logits.masked_fill(~torch.from_numpy(np.stack(allowed)).to(logits.device), -torch.inf)
    if temperature:
        return [_drawn(of_row, row.stream, temperature) for row, of_row in zip(rows, logits, strict=True)]
    likeliest: list[int] = logits.float().argmax(dim=-1).tolist()  # of bfloat16 it takes four times as long
    return likeliest


def _drawn(logits: Tensor, stream: np.random.Generator, temperature: float) -> int:
    upto = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(upto, stream.random() * upto[-1], right=True)
    return min(int(drawn), len(upto) - 1)
