"""The reference engine: plain transformers, one unpadded row at a time.

It calls the model's own forward pass with the model's own cache and nothing else, so it defines what every other
engine must compute. It is also the engine of models whose results depend on more than token ids, positions and a mask:
state spaces, ALiBi, windows that count the columns of a cache, rotary frequencies that change with a row's length.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from stepladder.engine.configuration import has_dynamic_rope, unknown_windows
from stepladder.engine.grammar import JsonGrammar
from stepladder.engine.network import Network, Tokens, Virtual
from stepladder.engine.sampling import Answer, Sampling, next_tokens
from stepladder.engine.values import Best, Generated, Scores

CANDIDATE_TOKENS = 4096
"""Tokens of candidates, the prompt counted for each, that are scored in one pass behind a prompt's cache."""
FAULTS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, AssertionError)
"""What transformers raises where a model is run in a way that it does not support."""


class ReferenceEngine:
    """Scores, generates and trains by the model's own forward pass. See `Engine` for the methods."""

    name = "reference"

    def __init__(self, module: nn.Module, virtual: Virtual | None = None) -> None:
        self.network = Network(module, virtual)

    def adapted(self, module: nn.Module, virtual: Virtual | None = None) -> ReferenceEngine:
        return ReferenceEngine(module, virtual)

    def score(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        for index, (prompt, own) in enumerate(zip(prompts, candidates, strict=True)):
            begun = time.perf_counter()
            with self.network.predicting():
                found = self._log_probabilities(prompt, list(dict.fromkeys(map(tuple, own))))
            logs = tuple(found[tuple(candidate)] for candidate in own)
            yield index, Scores(logs, tuple(map(len, own)), time.perf_counter() - begun)

    def choose(
        self, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        return ((index, scores.best()) for index, scores in self.score(prompts, candidates))

    def generate(
        self,
        prompts: Sequence[Tokens],
        budgets: Sequence[int],
        sampling: Sampling,
        ends: frozenset[int],
        grammar: JsonGrammar | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Generated]]:
        for index, (prompt, budget) in enumerate(zip(prompts, budgets, strict=True)):
            begun = time.perf_counter()
            answer, row = Answer.begin(index, budget, sampling, grammar), _Row(self.network)
            with self.network.predicting():
                logits = row.read(prompt)
                while True:
                    answer.take(next_tokens(logits, [answer], sampling.temperature)[0], ends)
                    if answer.done:
                        break
                    logits = row.read(answer.ids[-1:])
            yield index, Generated(tuple(answer.ids), time.perf_counter() - begun, answer.finished)

    def answer_losses(self, ids: Tensor, mask: Tensor, answer: Tensor, noise: float | None = None) -> Tensor:
        lengths = mask.sum(dim=1).tolist()
        if self._depends_on_length(min(lengths), max(lengths)):  # then padding would change results
            rows = [(n, slice(at, at + 1)) for at, n in enumerate(lengths)]
        else:
            rows = [(max(lengths), slice(None))]
        losses = []
        for length, part in rows:
            own, where = ids[part, :length], answer[part, :length]
            noisy = None if noise is None else self.network.noisy_embeddings(own, mask[part, :length], noise)
            logits, _ = self.network.forward(own, embeddings=noisy)
            before = pad(where[:, 1:], (0, 1))  # the logits of a token are those at the token before it
            losses.append(cross_entropy(logits[before].float(), own[where], reduction="none"))
        return torch.cat(losses)

    def _log_probabilities(self, prompt: Tokens, candidates: Sequence[Tokens]) -> dict[Tokens, float]:
        """Of each candidate its log-probability after the prompt: what one pass over both together gives."""
        longest = len(prompt) + max(map(len, candidates))
        if self._cache_continues and not self._depends_on_length(len(prompt), longest):
            return self._behind_cache(prompt, candidates)
        found = {}
        for candidate in candidates:
            logits, _ = self.network.forward(self._ids([*prompt, *candidate]))
            found[candidate] = _log_probability(logits[0, len(prompt) - 1 : -1], candidate)
        return found

    def _behind_cache(self, prompt: Tokens, candidates: Sequence[Tokens]) -> dict[Tokens, float]:
        """The same, with one pass over the prompt and then all candidates behind copies of its cache."""
        first, cache = self.network.forward(self._ids(prompt), keep_cache=True)
        found, at_once = {}, max(1, CANDIDATE_TOKENS // (len(prompt) + max(map(len, candidates))))
        ordered = sorted(candidates, key=len)
        for start in range(0, len(ordered), at_once):
            group = ordered[start : start + at_once]
            logits = first[:, -1:].expand(len(group), -1, -1)
            if max(map(len, group)) > 1:
                ids, _ = self.network.pad([candidate[:-1] or [0] for candidate in group])
                after, _ = self.network.forward(ids, _repeated(cache, len(group)))
                logits = torch.cat([logits, after], dim=1)
            for own, candidate in zip(logits, group, strict=True):
                found[candidate] = _log_probability(own[: len(candidate)], candidate)
        return found

    def _depends_on_length(self, shortest: int, longest: int) -> bool:
        """Whether a token's result may change when its row grows from `shortest` to `longest` tokens.

        Rotary frequencies may change (LongRoPE, dynamic NTK), and models that rank the tokens they attend to keep the
        best of more (Doge, the indexers of DeepSeek and Hunyuan).
        """
        switched = not self.network.exceeds_rotary_switch(shortest) or has_dynamic_rope(self.network.config)
        rotated = shortest != longest and switched and self.network.exceeds_rotary_switch(longest)
        ranked = min(unknown_windows(self.network.config), default=None)
        return rotated or (ranked is not None and self.network.virtual_length + longest > ranked)

    @cached_property
    def _cache_continues(self) -> bool:
        """Whether the model's own cache, copied for two rows, gives what one pass over whole rows gives."""
        tokens = [at * 7919 % self.network.vocabulary for at in range(1, 8)]
        try:
            whole, _ = self.network.forward(self._ids(tokens))
            _, cache = self.network.forward(self._ids(tokens[:-2]), keep_cache=True)
            after, _ = self.network.forward(self._ids(tokens[-2:]).expand(2, -1), _repeated(cache, 2))
        except FAULTS:
            return False
        return near(after[1], whole[0, -2:])

    def _ids(self, tokens: Tokens) -> Tensor:
        return torch.tensor([list(tokens)], device=self.network.device)


class _Row:
    """A row that is generated: its token ids, and the model's own cache of them."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ids: list[int] = []
        self.cache: Any = None

    def read(self, tokens: Tokens) -> Tensor:
        """Logits (1, vocabulary) after the row's next `tokens`."""
        switched = not self.network.exceeds_rotary_switch(len(self.ids))
        self.ids += tokens
        if switched and self.network.exceeds_rotary_switch(len(self.ids)) and self._cache_is_dropped():
            self.cache = None
        new = self.ids if self.cache is None else tokens
        ids = torch.tensor([list(new)], device=self.network.device)
        logits, self.cache = self.network.forward(ids, self.cache, keep_cache=True)
        return logits[:, -1]

    def _cache_is_dropped(self) -> bool:
        """Whether `generate` of transformers reads the row again when rotary frequencies change, as it does for Phi-3.
        For other models the keys of earlier tokens keep the frequencies that they were read with."""
        if self.cache is None:
            return True
        ids = torch.tensor([self.ids], device=self.network.device)
        inputs = self.network.causal.prepare_inputs_for_generation(ids, past_key_values=self.cache, use_cache=True)
        return inputs.get("past_key_values") is None


def near(found: Tensor, right: Tensor) -> bool:
    """Whether log-probabilities by these logits (n, vocabulary) are equal up to the rounding of their dtype."""
    limit = 1e-3 if right.dtype == torch.float32 else 0.5
    found, right = (logits.float().log_softmax(dim=-1) for logits in (found, right))
    difference = (found - right).abs().masked_fill_(found == right, 0.0)  # of two infinite ones too
    return bool(difference.mean() < limit)


def _repeated(cache: Any, rows: int) -> Any:
    """A copy of a model's own cache of one row, for this many rows."""
    own = copy.deepcopy(cache)
    own.reorder_cache(torch.zeros(rows, dtype=torch.long))
    return own


def _log_probability(logits: Tensor, candidate: Tokens) -> float:
    """Log-probability of a candidate by the logits (n, vocabulary) before each of its n tokens."""
    logs = logits.float().log_softmax(dim=-1)
    tokens = torch.tensor(candidate, device=logits.device)
    return math.fsum(logs.gather(1, tokens[:, None])[:, 0].tolist())
