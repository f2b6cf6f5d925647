"""Decoding sessions: rows that have read their prompts and go on from there.

Rows begin with a shared prefix, which is read once; each reads its own prompt, then its next tokens. `begin` chooses
how keys and values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from stepladder.engine.decoding.kv_slots import Prefix, SlotReading, Tokens
from stepladder.engine.fast.network import FastNetwork


class Reading(Protocol):
    """Rows on their way, counted from nought in the order in which they came.

    takes_more: whether new rows may begin while others are generated.
    """

    @property
    def takes_more(self) -> bool: ...

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        """New rows, after those there are, read their prompts: the hidden state at each one's end (rows, width)."""
        ...

    @property
    def guesses(self) -> bool:
        """Whether tokens that may follow a row's last one are worth being read with it."""
        ...

    def takes_at_once(self, tokens: int) -> bool:
        """Whether new rows are best begun in the pass in which the others go on, when that has so many tokens."""
        ...

    def go_on(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        """Each row reads its own next tokens, one or more: hidden states (tokens, width), row after row. New rows come
        after these and read their prompts: the hidden state at each one's end."""
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these; they are counted anew, in this order."""
        ...

    def forget(self, tokens: Sequence[int]) -> None:
        """As if each row had not read its last so many tokens."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width)."""
        ...


class BranchReading(Reading, Protocol):
    """Rows that also read several continuations side by side."""

    @property
    def device(self) -> torch.device: ...

    def extend(self, ids: Tensor, depth: Tensor, among: Tensor) -> Tensor:
        """All rows read n more tokens `ids` (rows, n): their hidden states (rows, n, width).

        depth (rows, n): how far behind the row's end each stands; among (rows, n, n): which of the new tokens each
        sees.
        """
        ...


def shared(network: FastNetwork, prompts: Sequence[Tokens]) -> Prefix:
    """What all `prompts` begin with, read once; at least one token is left to each."""
    tokens: list[int] = []
    if len(prompts) > 1:
        rows = [list(prompt) for prompt in prompts]
        low, high, most = min(rows), max(rows), min(map(len, rows)) - 1
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
        worth = network.shortest_shared_prefix
        tokens = low[: min(same, most)] if worth is not None and min(same, most) >= worth else []
    if not network.ours:
        return Prefix(tokens)
    with network.predicting():
        return Prefix(tokens, network.prefix(tokens))


def begin(network: FastNetwork, prefix: Prefix, rows: int, room: int) -> BranchReading:
    """A reading for at most `rows` rows at once, each of at most `room` tokens after the `prefix`."""
    if network.ours:
        return SlotReading(network, prefix, rows, room)
    return CacheReading(network, prefix)


class CacheReading:
    """Keys and values lie in transformers' own cache, and its own attention looks at them through masks: for models
    that want more of their attention than ours does."""

    takes_more: bool = False

    def __init__(self, network: FastNetwork, prefix: Prefix) -> None:
        self.network, self.prefix = network, prefix
        self._rows = 0

    @property
    def device(self) -> torch.device:
        return self.network.device

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        if self._rows:
            raise ValueError("rows can not be added here once others have begun")
        ids, lengths = self.network.pad([[*self.prefix.tokens, *prompt] for prompt in prompts])
        hidden, self._cache = self.network.read(ids)
        self._rows, columns = len(ids), self._cache.get_seq_length()
        self._positions = torch.arange(columns, device=ids.device).expand(self._rows, -1)
        self._visible = self._positions < (lengths + columns - ids.shape[1])[:, None]
        self._ends = self._visible.sum(dim=1, keepdim=True)
        return hidden[torch.arange(self._rows, device=ids.device), lengths - 1]

    @property
    def guesses(self) -> bool:
        """Guesses of one row pad the others, to positions that may lie where rotary frequencies change."""
        return self.network.rotary_switch is None

    def takes_at_once(self, tokens: int) -> bool:
        return False

    def go_on(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        if prompts:
            raise ValueError("rows can not be added here once others have begun")
        ids, lengths = self.network.pad(tokens)
        rows, n = ids.shape
        steps = torch.arange(n, device=ids.device)
        hidden = self.extend(ids, steps.expand(rows, -1), (steps <= steps[:, None]).expand(rows, -1, -1))
        self.forget((n - lengths).tolist())
        return hidden[steps < lengths[:, None]]

    def extend(self, ids: Tensor, depth: Tensor, among: Tensor) -> Tensor:
        positions = self._ends + depth
        past = self._visible[:, None, :].expand(-1, ids.shape[1], -1)
        seen = torch.cat([self._positions, positions], dim=1)
        hidden = self.network.extend(self._cache, ids, torch.cat([past, among], dim=2), positions, seen)
        self._visible = torch.cat([self._visible, torch.ones_like(ids, dtype=torch.bool)], dim=1)
        self._positions, self._ends = seen, self._ends + ids.shape[1]
        return hidden

    def keep(self, rows: Sequence[int]) -> None:
        if list(rows) != list(range(self._rows)):
            at = torch.tensor(rows, dtype=torch.long, device=self._visible.device)
            self._cache.batch_select_indices(at)
            self._visible, self._positions, self._ends = self._visible[at], self._positions[at], self._ends[at]
        self._rows = len(rows)

    def forget(self, tokens: Sequence[int]) -> None:
        last = torch.tensor(tokens, device=self._visible.device)[:, None]
        self._visible = self._visible & (self._visible.flip(1).cumsum(1).flip(1) > last)
        self._ends = self._ends - last

    def logits(self, hidden: Tensor) -> Tensor:
        return self.network.logits(hidden)
