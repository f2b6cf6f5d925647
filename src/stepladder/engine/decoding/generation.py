"""Writing answers, many rows at a time.

Knows token ids, the network and what a row may write next; knows no task. Rows read their prompts, then each gets a
token a step, until its end token or its length. A row that is done makes room for one that waits.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate, count, islice

import numpy as np
import torch
from torch import Tensor

from stepladder.engine.decoding.grammar import JsonGrammar, JsonWriter
from stepladder.engine.decoding.kv_slots import Prefix
from stepladder.engine.decoding.session import Reading, begin, shared
from stepladder.engine.decoding.speculation import Drafted, Drafts
from stepladder.engine.fast import kernels
from stepladder.engine.network import Network
from stepladder.engine.reference import PlainReading
from stepladder.engine.values import Generated

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
    prompt: Tokens  # without what all begin with
    budget: int
    stream: np.random.Generator
    writer: JsonWriter | None
    text: Drafted
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False
    done: bool = False

    def guess(self) -> Tokens:
        forced = self.writer.forced() if self.writer else ()
        return self.text.guess(self.budget - len(self.ids) - 1, forced)

    def take(self, token: int, ends: frozenset[int]) -> None:
        """Write the token; afterwards the row may be `done`."""
        self.ids.append(token)
        self.finished = token in ends
        if self.writer is not None and not self.finished:
            self.writer.take(token)
            given_back = self.writer.give_back(self.budget - len(self.ids))
            if given_back:
                self.ids = self.ids[:-given_back] + self.writer.close()
                self.finished, self.done = self.writer.complete, True
                return
        self.done = self.finished or len(self.ids) >= self.budget


def generate(
    network: Network,
    prompts: Sequence[Tokens],
    waves: Sequence[tuple[int, Sequence[int]]],
    budgets: Sequence[int],
    draw: Draw,
    ends: frozenset[int],
    grammar: JsonGrammar | None = None,
    plainly: bool = False,
) -> Iterator[tuple[int, Generated]]:
    """Write at most `budgets[i]` tokens after `prompts[i]`; the end token counts as one. What all prompts begin with is
    read once. Of each of `waves` so many rows at once are written, in its order; `plainly` by plain transformers."""
    if not waves:
        return
    begun = time.perf_counter()
    prefix = Prefix() if plainly else shared(network, prompts)
    spent = (time.perf_counter() - begun) / len(prompts) if prompts else 0.0
    drafts = Drafts(prefix.tokens, dear=network.dtype == torch.float32 or network.device.type == "cuda")

    own = [prompt[len(prefix.tokens) :] for prompt in prompts]

    def begin_row(i: int) -> _Row:
        writer = grammar.writer() if grammar else None
        return _Row(i, own[i], budgets[i], draw.stream(i), writer, drafts.begin(own[i]))

    for slots, indices in waves:
        room = max(len(own[i]) + budgets[i] for i in indices)
        waiting = deque((i, len(own[i])) for i in indices)
        begin_reading = partial(_reading, network, prefix, min(slots, len(waiting)), room, plainly)
        writing = _Writing(begin_reading, slots, waiting, begin_row, draw.temperature, ends)
        while writing.goes_on:
            with network.predicting():
                done = writing.until_some_are_done()
            for row in done:
                yield row.index, Generated(tuple(row.ids), row.seconds + spent, row.finished)


def _reading(network: Network, prefix: Prefix, slots: int, room: int, plainly: bool) -> Reading:
    return PlainReading(network) if plainly else begin(network, prefix, slots, room)


@dataclass
class _Writing:
    """Rows that wait, each with the tokens of its prompt, and rows that are written, `slots` of these at most."""

    begin_reading: Callable[[], Reading]
    slots: int
    waiting: deque[tuple[int, int]]
    begin_row: Callable[[int], _Row]
    temperature: float | None
    ends: frozenset[int]
    rows: list[_Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.slots = min(self.slots, len(self.waiting))
        self.reading = self.begin_reading()

    @property
    def goes_on(self) -> bool:
        return bool(self.rows or self.waiting)

    def until_some_are_done(self) -> list[_Row]:
        while True:
            begun = time.perf_counter()
            asked = self._step()
            seconds = (time.perf_counter() - begun) / len(asked)
            for row in asked:
                row.seconds += seconds
            if any(row.done for row in asked):
                return self._part()

    def _step(self) -> list[_Row]:
        """Rows go on, and those that wait begin where there is room: as many in the same pass as it takes. Where it
        takes none they begin alone and some at a time: one alone costs about as much as a token of all."""
        free = min(self.slots - len(self.rows), len(self.waiting))
        if not self.rows:
            return self._read(free)
        drafts = [row.guess() if self.reading.guesses else () for row in self.rows]
        going = len(drafts) + sum(map(len, drafts))
        with_new = accumulate((n for _, n in islice(self.waiting, free)), initial=going)
        at_once = sum(map(self.reading.takes_at_once, islice(with_new, 1, None)))
        some = free and free >= min(len(self.waiting), -(-self.slots // 4))
        if some and not at_once and self.reading.takes_more:
            return self._read(free)
        return self._go_on(drafts, at_once)

    def _new(self, count: int) -> list[_Row]:
        return [self.begin_row(self.waiting.popleft()[0]) for _ in range(count)]

    def _read(self, count: int) -> list[_Row]:
        """So many rows begin."""
        if not self.rows and not self.reading.takes_more:
            self.reading = self.begin_reading()
        new = self._new(count)
        self.rows += new
        self._write(new, [[] for _ in new], self.reading.read([row.prompt for row in new]))
        return new

    def _go_on(self, drafts: Sequence[Tokens], others: int) -> list[_Row]:
        """Every row reads its last token and its draft, and writes as far as that was right, and a token; so many
        others begin."""
        read = [[row.ids[-1], *draft] for row, draft in zip(self.rows, drafts, strict=True)]
        new = self._new(others)
        hidden = self.reading.go_on(read, [row.prompt for row in new])
        self.rows += new
        written = self._write(self.rows, [*drafts, *([] for _ in new)], hidden)
        over = [max(0, len(tokens) - n) for tokens, n in zip(read, written, strict=False)]
        self.reading.forget([*over, *[0] * others])
        return self.rows

    def _write(self, rows: Sequence[_Row], drafts: Sequence[Tokens], hidden: Tensor) -> list[int]:
        """A row writes after each of its places in `hidden` (tokens, width), as long as its draft says the same: how
        many tokens."""
        logits = self.reading.logits(hidden)
        before = [len(row.ids) for row in rows]
        going = list(zip(rows, drafts, accumulate((1 + len(draft) for draft in drafts), initial=0), strict=False))
        for depth in count():
            if not going:
                break
            at = torch.tensor([first + depth for _, _, first in going])
            tokens = _next(logits, at, [row for row, _, _ in going], self.temperature)
            right = []
            for each, token in zip(going, tokens, strict=True):
                row, draft, _ = each
                row.take(token, self.ends)
                if not row.done and list(draft[depth : depth + 1]) == [token]:
                    right.append(each)
            going = right
        written = [max(0, len(row.ids) - had) for row, had in zip(rows, before, strict=True)]
        for row, n in zip(rows, written, strict=True):
            row.text.write(row.ids[len(row.ids) - n :])
        return written

    def _part(self) -> list[_Row]:
        """Take the rows that are done out; the last ones move to their places."""
        done = [row for row in self.rows if row.done]
        left = len(self.rows) - len(done)
        movable = [at for at in range(left, len(self.rows)) if not self.rows[at].done]
        places = [movable.pop() if self.rows[at].done else at for at in range(left)]
        self.reading.keep(places)
        self.rows = [self.rows[at] for at in places]
        return done


def _next(logits: Tensor, at: Tensor, rows: Sequence[_Row], temperature: float | None) -> list[int]:
    """The next token of each row by its logits, which are those `at` (rows,) of logits (any, vocabulary)."""
    writers = [row.writer for row in rows if row.writer]
    if not temperature and kernels.serve(logits):
        bits = torch.from_numpy(np.stack([writer.bits() for writer in writers])) if writers else None
        found: list[int] = kernels.highest_place(logits, at, bits).tolist()
        return found
    logits = logits[at.to(logits.device)]
    if writers:
        allowed = torch.from_numpy(np.stack([writer.allowed() for writer in writers]))
        logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    if temperature:
        return [_drawn(of_row, row.stream, temperature) for row, of_row in zip(rows, logits, strict=True)]
    likeliest: list[int] = logits.float().argmax(dim=-1).tolist()  # of bfloat16 it takes four times as long
    return likeliest


def _drawn(logits: Tensor, stream: np.random.Generator, temperature: float) -> int:
    upto = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(upto, stream.random() * upto[-1], right=True)
    return min(int(drawn), len(upto) - 1)
