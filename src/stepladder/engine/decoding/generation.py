"""Generates answers for many rows at a time.

Rows read their prompts, then each gets a token a step, until its end token or its budget. A finished row makes room for
a waiting one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, islice

import numpy as np
import torch
from torch import Tensor

from stepladder.engine.decoding.session import DecodingSession, shared_prefix
from stepladder.engine.fast import kernels
from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.grammar import JsonGrammar
from stepladder.engine.sampling import Answer, Sampling, next_tokens
from stepladder.engine.values import Generated

Tokens = Sequence[int]


def generate(
    network: FastNetwork,
    prompts: Sequence[Tokens],
    waves: Sequence[tuple[int, Sequence[int]]],
    budgets: Sequence[int],
    sampling: Sampling,
    ends: frozenset[int],
    grammar: JsonGrammar | None = None,
) -> Iterator[tuple[int, Generated]]:
    """Generate at most `budgets[i]` tokens after `prompts[i]`; the end token counts as one.

    Args:
        waves: How many rows are generated at once, and the indices of the rows, in this order. The shared prefix of all
            prompts is read once.
    """
    if not waves:
        return
    begun = time.perf_counter()
    prefix = shared_prefix(network, prompts)
    spent = (time.perf_counter() - begun) / len(prompts) if prompts else 0.0
    own = [prompt[len(prefix.tokens) :] for prompt in prompts]

    def begin_answer(index: int) -> Answer:
        return Answer.begin(index, budgets[index], sampling, grammar)

    for slots, indices in waves:
        longest = max(len(own[i]) + budgets[i] for i in indices)
        new_session = partial(DecodingSession, network, prefix, min(slots, len(indices)), longest)
        wave = _Wave(new_session, slots, indices, own, begin_answer, sampling.temperature, ends)
        while wave.answers or wave.waiting:
            with network.predicting():
                done = wave.until_some_are_done()
            for answer in done:
                yield answer.index, Generated(tuple(answer.ids), answer.seconds + spent, answer.finished)


class _Wave:
    """Waiting rows, and at most `slots` answers that are generated at once."""

    def __init__(
        self,
        new_session: Callable[[], DecodingSession],
        slots: int,
        waiting: Sequence[int],
        prompts: Sequence[Tokens],
        begin_answer: Callable[[int], Answer],
        temperature: float | None,
        ends: frozenset[int],
    ) -> None:
        self.new_session, self.begin_answer, self.prompts = new_session, begin_answer, prompts
        self.waiting = deque(waiting)
        self.slots = min(slots, len(waiting))
        self.temperature, self.ends = temperature, ends
        self.answers: list[Answer] = []
        self.session = new_session()

    def until_some_are_done(self) -> list[Answer]:
        while True:
            begun = time.perf_counter()
            stepped = self._step()
            seconds = (time.perf_counter() - begun) / len(stepped)
            for answer in stepped:
                answer.seconds += seconds
            if any(answer.done for answer in stepped):
                return self._take_out_done()

    def _step(self) -> list[Answer]:
        """Answers go on, and waiting rows begin where slots are free: as many in the same pass as it takes. Where it
        takes none they begin in a pass of their own, some at a time: one alone costs about as much as a token of
        all."""
        free = min(self.slots - len(self.answers), len(self.waiting))
        if not self.answers:
            return self._read(free)
        with_new = accumulate((len(self.prompts[i]) for i in islice(self.waiting, free)), initial=len(self.answers))
        at_once = sum(map(self.session.fits_into_step, islice(with_new, 1, None)))
        some = free and free >= min(len(self.waiting), -(-self.slots // 4))
        if some and not at_once and self.session.accepts_rows:
            return self._read(free)
        return self._go_on(at_once)

    def _new(self, count: int) -> list[Answer]:
        return [self.begin_answer(self.waiting.popleft()) for _ in range(count)]

    def _read(self, count: int) -> list[Answer]:
        """This many waiting rows begin."""
        if not self.answers and not self.session.accepts_rows:
            self.session = self.new_session()
        new = self._new(count)
        self.answers += new
        self._write(new, self.session.read([self.prompts[answer.index] for answer in new]))
        return new

    def _go_on(self, others: int) -> list[Answer]:
        """Every row reads its last token; this many others begin."""
        new = self._new(others)
        last = [[answer.ids[-1]] for answer in self.answers]
        hidden = self.session.advance(last, [self.prompts[answer.index] for answer in new])
        self.answers += new
        self._write(self.answers, hidden)
        return self.answers

    def _write(self, answers: Sequence[Answer], hidden: Tensor) -> None:
        """Each answer takes the token after its hidden state (answers, width)."""
        for answer, token in zip(answers, _next(self.session.logits(hidden), answers, self.temperature), strict=True):
            answer.take(token, self.ends)

    def _take_out_done(self) -> list[Answer]:
        """Remove the answers that are done; the last ones move to their places."""
        done = [answer for answer in self.answers if answer.done]
        left = len(self.answers) - len(done)
        movable = [at for at in range(left, len(self.answers)) if not self.answers[at].done]
        places = [movable.pop() if self.answers[at].done else at for at in range(left)]
        self.session.keep(places)
        self.answers = [self.answers[at] for at in places]
        return done


def _next(logits: Tensor, answers: Sequence[Answer], temperature: float | None) -> list[int]:
    """The next token of each answer by its logits (answers, vocabulary)."""
    if not temperature and kernels.support(logits):
        writers = [answer.writer for answer in answers if answer.writer]
        bits = torch.from_numpy(np.stack([writer.bits() for writer in writers])) if writers else None
        found: list[int] = kernels.highest_place(logits, torch.arange(len(answers)), bits).tolist()
        return found
    return next_tokens(logits, answers, temperature)
