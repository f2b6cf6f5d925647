"""Plain transformers: a model's own forward and its own cache on one unpadded row at a time, as `generate` runs them.

For models whose results depend on more than token ids, positions and a mask: state spaces, ALiBi, windows that count
the columns of a cache, rotary frequencies that change with a row's length. Slower than `SlotReading` and
`CacheReading`, and right wherever plain transformers is.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from stepladder.engine.network import Network
from stepladder.engine.values import Scores

Tokens = Sequence[int]
TOKENS_AT_ONCE = 4096  # of candidates of one row


def score(
    network: Network, prompts: Sequence[Tokens], candidates: Sequence[Sequence[Tokens]], rows: Sequence[int]
) -> Iterator[tuple[int, Scores]]:
    """Scores of `candidates[i]` after `prompts[i]` for each of `rows`: what the model's own forward gives of prompt and
    candidate together."""
    for index in rows:
        begun = time.perf_counter()
        distinct = list(dict.fromkeys(tuple(candidate) for candidate in candidates[index]))
        with network.predicting():
            found = dict(zip(distinct, _log_probabilities(network, prompts[index], distinct), strict=True))
        seconds = time.perf_counter() - begun
        logs = tuple(found[tuple(candidate)] for candidate in candidates[index])
        yield index, Scores(logs, tuple(map(len, candidates[index])), seconds)


def _log_probabilities(network: Network, prompt: Tokens, candidates: Sequence[Tokens]) -> list[float]:
    longest = len(prompt) + max(map(len, candidates))
    switches = network.is_beyond(longest) and not network.is_beyond(len(prompt))
    changes = switches or network.depends_on_length(longest)
    if network.continues and not changes:
        return _behind_cache(network, prompt, candidates)
    found: dict[Tokens, float] = {}
    for group in _groups(candidates, longest, same_length=changes):
        logits, _ = network.own_forward(_padded(network, [[*prompt, *candidate] for candidate in group]))
        found |= zip(group, _summed(logits[:, len(prompt) - 1 :], group), strict=True)
    return [found[candidate] for candidate in candidates]


def _behind_cache(network: Network, prompt: Tokens, candidates: Sequence[Tokens]) -> list[float]:
    """The prompt is read once, and the candidates behind its cache."""
    first, cache = network.own_forward(_padded(network, [prompt]), keep=True)
    first = first[:, -1:]
    found: dict[Tokens, float] = {}
    for group in _groups(candidates, len(prompt) + max(map(len, candidates)), same_length=False):
        logits = first.expand(len(group), -1, -1)
        if max(map(len, group)) > 1:
            own = repeated(cache, len(group))
            after, _ = network.own_forward(_padded(network, [candidate[:-1] or [0] for candidate in group]), own)
            logits = torch.cat([logits, after], dim=1)
        found |= zip(group, _summed(logits, group), strict=True)
    return [found[candidate] for candidate in candidates]


def repeated(cache: Any, rows: int) -> Any:
    """A copy of a model's own cache of one row, for so many rows."""
    own = copy.deepcopy(cache)
    own.reorder_cache(torch.zeros(rows, dtype=torch.long))
    return own


def _groups(candidates: Sequence[Tokens], longest: int, same_length: bool) -> Iterator[list[Tokens]]:
    """Candidates that are run together, of the `same_length` if need be."""
    rows = max(1, TOKENS_AT_ONCE // longest)
    for _, each in groupby(sorted(candidates, key=len), key=len if same_length else lambda _: 0):
        group = list(each)
        yield from (group[start : start + rows] for start in range(0, len(group), rows))


def _padded(network: Network, rows: Sequence[Tokens]) -> Tensor:
    return network.pad(rows)[0]


def _summed(logits: Tensor, candidates: Sequence[Tokens]) -> list[float]:
    """Log-probabilities of `candidates` by the logits (candidates, n, vocabulary) at their tokens."""
    sums = []
    for own, candidate in zip(logits, candidates, strict=True):
        logs = own[: len(candidate)].float().log_softmax(dim=-1)
        tokens = torch.tensor(candidate, device=logits.device)
        sums.append(math.fsum(logs.gather(1, tokens[:, None])[:, 0].tolist()))
    return sums


class _Row:
    """A row's token ids, and the model's own cache of them where it has one that continues."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.ids: list[int] = []
        self.cache: Any = None

    def read(self, tokens: Tokens) -> Tensor:
        """Logits (n, vocabulary) after each of the row's next `tokens`."""
        before = len(self.ids)
        self.ids += tokens
        if self.network.is_beyond(len(self.ids)) and not self.network.is_beyond(before) and self._is_read_again():
            self.cache = None
        new = self.ids if self.cache is None else tokens
        ids = torch.tensor([new], device=self.network.device)
        logits, self.cache = self.network.own_forward(ids, self.cache, keep=self.network.continues)
        if not self.network.continues:
            self.cache = None
        return logits[0, -len(tokens) :]

    def _is_read_again(self) -> bool:
        """Whether `generate` drops the cache now that rotary frequencies change. Phi-3's does. With other models the
        keys of earlier tokens keep the frequencies that they were read with."""
        if self.cache is None:
            return True
        ids = torch.tensor([self.ids], device=self.network.device)
        inputs = self.network.causal.prepare_inputs_for_generation(ids, past_key_values=self.cache, use_cache=True)
        return inputs.get("past_key_values") is None


class PlainReading:
    """Rows that read their prompts and go on, each by itself. What others call hidden states are logits already."""

    takes_more: bool = True
    guesses: bool = False

    def __init__(self, network: Network) -> None:
        self.network = network
        self._rows: list[_Row] = []

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        new = [_Row(self.network) for _ in prompts]
        self._rows += new
        return torch.stack([row.read(prompt)[-1] for row, prompt in zip(new, prompts, strict=True)])

    def takes_at_once(self, tokens: int) -> bool:
        return False

    def go_on(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        found = [row.read(own) for row, own in zip(self._rows, tokens, strict=True)]
        return torch.cat([*found, self.read(prompts)] if prompts else found)

    def keep(self, rows: Sequence[int]) -> None:
        self._rows = [self._rows[row] for row in rows]

    def forget(self, tokens: Sequence[int]) -> None:
        if any(tokens):
            raise ValueError("a cache of the model's own can not forget tokens")

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden
