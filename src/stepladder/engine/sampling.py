"""How the next token of an answer is chosen, and when an answer is finished: the same rules for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from stepladder.engine.grammar import JsonGrammar, JsonWriter


@dataclass(frozen=True)
class Sampling:
    """The likeliest token (`temperature` None or 0), or one drawn with random numbers that belong to the row alone.

    `rows` are the indices among all prompts of the rows that are generated; None: they are all.
    """

    temperature: float | None
    seed: int
    rows: Sequence[int] | None = None

    def stream(self, index: int) -> np.random.Generator:
        """The random numbers of the row with this index."""
        return np.random.default_rng([self.seed, index if self.rows is None else self.rows[index]])


@dataclass
class Answer:
    """An answer while it is generated.

    Attributes:
        index: The row's index among all prompts.
        budget: How many tokens it may have, the end token included.
        writer: Which tokens the JSON schema allows next; None where there is no schema.
        ids: The tokens so far.
        seconds: This row's share of the time so far.
        finished: Whether it ended by itself (end token, or a complete JSON value).
        done: Whether it is finished or has used its budget.
    """

    index: int
    budget: int
    stream: np.random.Generator
    writer: JsonWriter | None = None
    ids: list[int] = field(default_factory=list)
    seconds: float = 0.0
    finished: bool = False
    done: bool = False

    @classmethod
    def begin(cls, index: int, budget: int, sampling: Sampling, grammar: JsonGrammar | None) -> Answer:
        return cls(index, budget, sampling.stream(index), grammar.writer() if grammar else None)

    def take(self, token: int, ends: frozenset[int]) -> None:
        """Append a token. A JSON value is closed the short way before its budget ends."""
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


def next_tokens(logits: Tensor, answers: Sequence[Answer], temperature: float | None) -> list[int]:
    """The next token of each answer by its logits (answers, vocabulary)."""
    writers = [answer.writer for answer in answers if answer.writer]
    if writers:
        allowed = torch.from_numpy(np.stack([writer.allowed() for writer in writers]))
        logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    if temperature:
        return [_draw(of_row, answer.stream, temperature) for answer, of_row in zip(answers, logits, strict=True)]
    likeliest: list[int] = logits.float().argmax(dim=-1).tolist()  # of bfloat16 it takes four times as long
    return likeliest


def _draw(logits: Tensor, stream: np.random.Generator, temperature: float) -> int:
    """A token drawn from softmax(logits / temperature) by inverting its cumulative distribution."""
    cumulative = (logits.double() / temperature).softmax(dim=-1).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, stream.random() * cumulative[-1], right=True)
    return min(int(drawn), len(cumulative) - 1)
