"""A local causal model: its engine with its tokenizer and chat template. `LanguageModel` describes the methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from stepladder.engine.admission import check_causal
from stepladder.engine.configuration import window
from stepladder.engine.grammar import JsonGrammar
from stepladder.engine.interface import Engine
from stepladder.engine.sampling import Sampling
from stepladder.engine.values import Best, Scores, VirtualTokens
from stepladder.errors import ModelError
from stepladder.models.chat import Chat
from stepladder.models.language_model import Completion, Thoughts
from stepladder.types import Message, Plain

BF16_STEP = 0.125  # between two neighbouring numbers of bf16 from 16 to 32, where the logits of likely tokens lie


@dataclass(frozen=True, eq=False)
class CausalModel:
    """A causal model, as its `engine` runs it, and its `chat` format."""

    engine: Engine
    chat: Chat

    @property
    def module(self) -> nn.Module:
        return self.engine.network.module

    @property
    def engine_name(self) -> str:
        return self.engine.name

    @property
    def tokenizer(self) -> Any:
        return self.chat.tokenizer

    @cached_property
    def window(self) -> int:
        """How many tokens fit, prompt and answer together, without the virtual tokens."""
        return window(self.engine.network.config, self.tokenizer) - self.engine.network.virtual_length

    @property
    def noise(self) -> float:
        return 0.0 if self.engine.network.dtype == torch.float32 else BF16_STEP

    @property
    def thoughts(self) -> Thoughts:
        return self.chat.thoughts

    @property
    def ends(self) -> frozenset[int]:
        return self.engine.network.ends | {self.chat.end}

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self.chat.encode(messages)

    def encode_answer(self, text: str) -> list[int]:
        return self.chat.encode_answer(text)

    def score(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        return self.engine.score(prompts, self._encoded(prompts, candidates), micro_batch)

    def choose(
        self, prompts: Sequence[Sequence[int]], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        return self.engine.choose(prompts, self._encoded(prompts, candidates), micro_batch)

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

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        temperature: float | None = None,
        seed: int = 0,
        schema: Plain | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        self._fits(prompts, [1] * len(prompts))
        budgets = [min(max_new_tokens, self.window - len(prompt)) for prompt in prompts]
        grammar = None
        if schema is not None:
            grammar = JsonGrammar(self.tokenizer, self.chat.end, self.engine.network.vocabulary, schema)
        sampling = Sampling(temperature, seed)
        rows = self.engine.generate(prompts, budgets, sampling, self.ends, grammar, micro_batch)
        return ((i, Completion(self.chat.decode(row.ids), len(row.ids), row.seconds, row.finished)) for i, row in rows)

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        if bool(answer[:, 0].any()):
            raise ValueError("an answer can not begin at the first token: there is no token before it")
        return self.engine.answer_losses(ids, mask, answer, noise)

    def adapted(self, module: nn.Module, virtual: Callable[[int], VirtualTokens] | None = None) -> CausalModel:
        engine = self.engine.adapted(module, virtual)
        if virtual is not None:  # which may not fit the model at all
            check_causal(engine.network)
        return replace(self, engine=engine)

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
