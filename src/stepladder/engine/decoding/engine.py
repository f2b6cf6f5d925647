"""The fast engine: batches of rows on shared prefixes, KV-cache slots and the fused decoder.

Rows beyond a sliding window, or a switch of rotary frequencies, go to the reference engine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stepladder.engine.decoding import best_label, generation, scoring
from stepladder.engine.fast.network import FastNetwork, Shared
from stepladder.engine.grammar import JsonGrammar
from stepladder.engine.network import Tokens, Virtual
from stepladder.engine.reference import ReferenceEngine
from stepladder.engine.sampling import Sampling
from stepladder.engine.values import Best, Generated, Scores

T = TypeVar("T")
BATCH_TOKENS = 8192
ON_GPU = 4  # times as many


class FastEngine:
    """Scores, generates and trains in batches. See `Engine` for the methods."""

    name = "fast"

    def __init__(self, module: nn.Module, virtual: Virtual | None = None, shared: Shared | None = None) -> None:
        self.network = FastNetwork(module, virtual, shared or Shared())
        self.reference = ReferenceEngine(module, virtual)

    def adapted(self, module: nn.Module, virtual: Virtual | None = None) -> FastEngine | ReferenceEngine:
        if virtual is not None and self.network.longest_row is not None:
            return ReferenceEngine(module, virtual)  # virtual tokens may fill a window
        return FastEngine(module, virtual, self.network.shared)

    def score(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        batched, alone = self._divided(prompts, _longest(candidates))
        batches = self._batches(prompts, _total(candidates), micro_batch, batched)
        own = self.reference.score(_of(prompts, alone), _of(candidates, alone))
        return chain(_indexed(own, alone), scoring.score(self.network, prompts, candidates, batches))

    def choose(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        longest = _longest(candidates)
        batched, alone = self._divided(prompts, longest)
        deepest = [best_label.AT_ONCE * length for length in longest]
        batches, whole = (self._batches(prompts, more, micro_batch, batched) for more in (deepest, _total(candidates)))
        own = self.reference.choose(_of(prompts, alone), _of(candidates, alone))
        return chain(_indexed(own, alone), best_label.choose(self.network, prompts, candidates, batches, whole))

    def generate(
        self,
        prompts: Sequence[Tokens],
        budgets: Sequence[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: JsonGrammar | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Generated]]:
        batched, alone = self._divided(prompts, budgets)
        own = self.reference.generate(
            _of(prompts, alone), _of(budgets, alone), replace(sampling, rows=alone), ends, grammar
        )
        lengths = [len(prompts[i]) for i in batched]
        costs = [len(prompts[i]) + budgets[i] for i in batched]
        waves = [
            (slots, _of(batched, places)) for slots, places in in_waves(lengths, costs, micro_batch, self._batch_tokens)
        ]
        written = generation.generate(self.network, prompts, waves, budgets, sampling, ends, grammar)
        return chain(_indexed(own, alone), written)

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        network, wanted = self.network, pad(answer[:, 1:], (0, 1))
        if noise is not None:
            return network.losses(network.noisy_hidden(ids, mask, noise)[wanted], ids[answer])
        if network.longest_row is not None:
            beyond = mask.sum(dim=1) > network.longest_row
            if bool(beyond.any()):
                return self._losses_apart(beyond, ids, mask, answer)
        return network.answer_losses(ids, mask, wanted, ids[answer])

    def _losses_apart(self, beyond: Tensor, ids: Tensor, mask: Tensor, answer: Tensor) -> Tensor:
        """Losses of the rows `beyond` (batch,) the longest row by the reference engine, of the others by this one."""
        row = answer.nonzero()[:, 0]
        losses = torch.empty(len(row), device=ids.device)
        for rows, compute in ((beyond, self.reference.answer_losses), (~beyond, self.answer_losses)):
            if bool(rows.any()):
                longest, own = int(mask[rows].sum(dim=1).max()), rows[row].nonzero()[:, 0]
                parts = [part[rows, :longest] for part in (ids, mask, answer)]
                losses = losses.index_copy(0, own, compute(parts[0], parts[1], parts[2]).float())
        return losses

    def _divided(self, prompts: Sequence[Tokens], more: Sequence[int]) -> tuple[list[int], list[int]]:
        """Rows that are run in batches, and rows that the reference engine runs."""
        longest = self.network.longest_row
        alone = [i for i, prompt in enumerate(prompts) if longest is not None and len(prompt) + more[i] > longest]
        return sorted(set(range(len(prompts))) - set(alone)), alone

    def _batches(
        self, prompts: Sequence[Tokens], more: Sequence[int], micro_batch: int | None, rows: Sequence[int]
    ) -> list[list[int]]:
        lengths = [len(prompts[i]) for i in rows]
        costs = [len(prompts[i]) + more[i] for i in rows]
        return [_of(rows, batch) for batch in in_batches(lengths, costs, micro_batch, self._batch_tokens)]

    @property
    def _batch_tokens(self) -> int:
        return BATCH_TOKENS * (ON_GPU if self.network.device.type == "cuda" else 1)


def in_batches(
    lengths: Sequence[int], costs: Sequence[int], micro_batch: int | None, tokens: int = BATCH_TOKENS
) -> list[list[int]]:
    """Row indices in batches of like length, longest first: a batch that does not fit into memory fails at once.

    Without `micro_batch`, as many rows as stay below `tokens` when each counts as much as the most expensive.
    """
    batches: list[list[int]] = []
    highest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        highest = max(highest, costs[index])
        full = not batches or (
            len(batches[-1]) >= micro_batch if micro_batch else highest * (len(batches[-1]) + 1) > tokens
        )
        if full:
            batches.append([])
            highest = costs[index]
        batches[-1].append(index)
    return batches


def in_waves(
    lengths: Sequence[int], costs: Sequence[int], micro_batch: int | None, tokens: int = BATCH_TOKENS
) -> list[tuple[int, list[int]]]:
    """Row indices, longest first, in waves, each with the number of its rows that are in memory at once.

    A wave ends where rows cost less than half of its most expensive: the next one has room for twice as many.
    """
    waves: list[tuple[int, list[int]]] = []
    highest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not waves or 2 * costs[index] < highest or costs[index] > highest:
            highest = costs[index]
            waves.append((micro_batch or max(1, tokens // highest), []))
        waves[-1][1].append(index)
    return waves


def _longest(candidates: Sequence[Sequence[Tokens]]) -> list[int]:
    return [max(map(len, row)) for row in candidates]


def _total(candidates: Sequence[Sequence[Tokens]]) -> list[int]:
    return [sum(map(len, row)) for row in candidates]


def _of(values: Sequence[T], indices: Iterable[int]) -> list[T]:
    return [values[index] for index in indices]


def _indexed(results: Iterator[tuple[int, T]], indices: Sequence[int]) -> Iterator[tuple[int, T]]:
    """Results of some rows with the indices that these have among all."""
    return ((indices[place], result) for place, result in results)
