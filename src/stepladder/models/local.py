"""A causal model with its tokenizer: encodes, scores, writes, and hands out logits for training.

Joins `chat`, `network`, `scoring` and `generation`; knows no dataset and no label. `LanguageModel` has the contract.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from stepladder.engine import reference
from stepladder.engine.admission import choose_path
from stepladder.engine.configuration import window
from stepladder.engine.decoding import best_label, generation, scoring
from stepladder.engine.decoding.grammar import JsonGrammar
from stepladder.engine.fast.matrix import Packs
from stepladder.engine.network import Network
from stepladder.engine.values import Best, Generated, Scores, VirtualTokens
from stepladder.errors import ModelError
from stepladder.models.chat import Chat
from stepladder.models.language_model import Completion, Thoughts
from stepladder.types import Message

TOKENS_AT_ONCE = 8192
ON_GPU = 4  # times as many
BF16_STEP = 0.125  # between two neighbouring numbers of bf16 from 16 to 32, where the logits of likely tokens lie


@dataclass(frozen=True, eq=False)
class CausalModel:
    """A transformers causal model (`module`, perhaps wrapped by PEFT), its `chat`, and virtual tokens by batch size.

    What is tuned from one base shares its `packs`."""

    module: nn.Module
    chat: Chat
    virtual: Callable[[int], VirtualTokens] | None = None
    packs: Packs = field(default_factory=Packs)

    @cached_property
    def network(self) -> Network:
        return Network(self.module, self.virtual, self.packs)

    @property
    def tokenizer(self) -> Any:
        return self.chat.tokenizer

    @cached_property
    def window(self) -> int:
        """How many tokens fit, prompt and answer together; virtual tokens are taken off."""
        return window(self.network.config, self.tokenizer) - self.network.columns_before

    @property
    def noise(self) -> float:
        return 0.0 if self.network.dtype == torch.float32 else BF16_STEP

    @property
    def thoughts(self) -> Thoughts:
        return self.chat.thoughts

    @property
    def ends(self) -> frozenset[int]:
        return self.network.ends | {self.chat.end}

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self.chat.encode(messages)

    def encode_answer(self, text: str) -> list[int]:
        return self.chat.encode_answer(text)

    def score(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        encoded = self._encoded(prompts, candidates)
        batched, alone = self._divided(prompts, [max(map(len, row)) for row in encoded])
        batches = self._batches(prompts, _whole(encoded), micro_batch, batched)
        return chain(
            reference.score(self.network, prompts, encoded, alone),
            scoring.score(self.network, prompts, encoded, batches),
        )

    def choose(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        encoded = self._encoded(prompts, candidates)
        longest = [max(map(len, row)) for row in encoded]
        batched, alone = self._divided(prompts, longest)
        deepest = [best_label.AT_ONCE * length for length in longest]
        batches, whole = (self._batches(prompts, more, micro_batch, batched) for more in (deepest, _whole(encoded)))
        return chain(
            (
                (index, best_label.best(scores))
                for index, scores in reference.score(self.network, prompts, encoded, alone)
            ),
            best_label.choose(self.network, prompts, encoded, batches, whole),
        )

    def _divided(self, prompts: Sequence[Sequence[int]], more: Sequence[int]) -> tuple[list[int], list[int]]:
        """Rows that are run in batches, and rows that are run each alone, on the plain path."""
        alone = [i for i, prompt in enumerate(prompts) if self.network.takes_plain(len(prompt) + more[i])]
        return sorted(set(range(len(prompts))) - set(alone)), alone

    def _encoded(self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]]) -> list[list[list[int]]]:
        """Candidates as token ids; equal ones are one object."""
        known: dict[tuple[str, ...], list[list[int]]] = {}
        encoded = []
        for texts in candidates:
            key = tuple(texts)
            if key not in known:
                known[key] = [self.encode_answer(text) for text in key]
            encoded.append(known[key])
        self._fits(prompts, [max(map(len, row)) for row in encoded])
        return encoded

    def _batches(
        self, prompts: Sequence[Sequence[int]], more: Sequence[int], micro_batch: int | None, rows: Sequence[int]
    ) -> list[list[int]]:
        lengths = [len(prompts[i]) for i in rows]
        costs = [len(prompts[i]) + more[i] for i in rows]
        batches = batched(lengths, costs, micro_batch, self._tokens_at_once)
        return [[rows[at] for at in batch] for batch in batches]

    @property
    def _tokens_at_once(self) -> int:
        return TOKENS_AT_ONCE * (ON_GPU if self.network.device.type == "cuda" else 1)

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float | None = None,
        seed: int = 0,
        schema: Mapping[str, Any] | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        self._fits(prompts, [1] * len(prompts))
        lengths = [len(prompt) for prompt in prompts]
        budgets = [min(max_new_tokens, self.window - length) for length in lengths]
        costs = [length + budget for length, budget in zip(lengths, budgets, strict=True)]
        grammar = None
        if schema is not None:
            grammar = JsonGrammar(self.tokenizer, self.chat.end, self.network.vocabulary, schema)
        draw = generation.Draw(temperature, seed)

        def generated(rows: Sequence[int], plainly: bool) -> Iterator[tuple[int, Generated]]:
            own = in_waves([lengths[i] for i in rows], [costs[i] for i in rows], micro_batch, self._tokens_at_once)
            waves = [(slots, [rows[at] for at in indices]) for slots, indices in own]
            return generation.generate(self.network, prompts, waves, budgets, draw, self.ends, grammar, plainly)

        batched, alone = self._divided(prompts, budgets)
        rows = chain(generated(alone, plainly=True), generated(batched, plainly=False))
        return ((i, Completion(self.chat.decode(row.ids), len(row.ids), row.seconds, row.finished)) for i, row in rows)

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        if bool(answer[:, 0].any()):
            raise ValueError("an answer can not begin at the first token: nothing stands before it")
        wanted = pad(answer[:, 1:], (0, 1))
        if noise is not None:
            return self.network.losses(self.network.noisy_hidden(ids, mask, noise)[wanted], ids[answer])
        return self.network.learnt_losses(ids, mask, wanted, ids[answer])

    def adapted(self, module: nn.Module, virtual: Callable[[int], VirtualTokens] | None = None) -> CausalModel:
        model = replace(self, module=module, virtual=virtual)
        if virtual is not None:  # what stands before every row may fill a window, or not fit the model at all
            choose_path(model.network)
        return model

    def _fits(self, prompts: Sequence[Sequence[int]], more: Sequence[int]) -> None:
        for index, (prompt, extra) in enumerate(zip(prompts, more, strict=True)):
            if not prompt:
                raise ValueError(f"prompt {index} has no token")
            if len(prompt) + extra > self.window:
                raise ModelError(
                    f"Prompt {index}: {len(prompt)} tokens and {extra} of an answer, in a window of {self.window}",
                    "model",
                    "shorten the prompt: show less, or let prompt.on_overflow drop it",
                )


def _whole(candidates: Sequence[Sequence[Sequence[int]]]) -> list[int]:
    """Of each row the tokens of all its candidates."""
    return [sum(map(len, row)) for row in candidates]


def batched(
    lengths: Sequence[int], costs: Sequence[int], micro_batch: int | None, tokens: int = TOKENS_AT_ONCE
) -> list[list[int]]:
    """Row indices in batches of like length, longest first: what is too big for the machine shows at once.

    Without `micro_batch`, as many rows as stay below so many `tokens` when each counts as much as the dearest.
    """
    batches: list[list[int]] = []
    dearest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        dearest = max(dearest, costs[index])
        full = not batches or (
            len(batches[-1]) >= micro_batch if micro_batch else dearest * (len(batches[-1]) + 1) > tokens
        )
        if full:
            batches.append([])
            dearest = costs[index]
        batches[-1].append(index)
    return batches


def in_waves(
    lengths: Sequence[int], costs: Sequence[int], micro_batch: int | None, tokens: int = TOKENS_AT_ONCE
) -> list[tuple[int, list[int]]]:
    """Row indices, longest first, in waves with the number of rows of each that are in the machine at once.

    A wave ends where rows cost less than half of its dearest: the next one has room for twice as many.
    """
    waves: list[tuple[int, list[int]]] = []
    dearest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not waves or 2 * costs[index] < dearest or costs[index] > dearest:
            dearest = costs[index]
            waves.append((micro_batch or max(1, tokens // dearest), []))
        waves[-1][1].append(index)
    return waves
