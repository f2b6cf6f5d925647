"""Decoding sessions: rows that have read their prompts and continue token by token.

The shared prefix of all rows is read once; each row reads its own prompt, then its next tokens. `begin_session` chooses
how keys and values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from stepladder.engine.decoding.kv_slots import Prefix, SlotSession, Tokens
from stepladder.engine.fast.network import FastNetwork


class DecodingSession(Protocol):
    """Rows with their KV cache, numbered from 0 in the order in which they were added."""

    @property
    def accepts_rows(self) -> bool:
        """Whether new rows may begin while others are generated."""
        ...

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        """Add rows, which read their prompts. Returns the hidden state at each one's end (rows, width)."""
        ...

    @property
    def speculates(self) -> bool:
        """Whether proposed tokens are worth reading together with a row's last one."""
        ...

    def fits_into_step(self, tokens: int) -> bool:
        """Whether new rows best begin in the pass in which the others advance, if that pass has this many tokens."""
        ...

    def advance(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        """Each row reads its own next `tokens`, one or more, and new rows their `prompts`.

        Returns:
            Hidden states (tokens + prompts, width): of all tokens, row by row, then at the end of each prompt.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other rows; these are numbered anew, in this order."""
        ...

    def forget(self, tokens: Sequence[int]) -> None:
        """Remove the last tokens of each row, this many."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width)."""
        ...


class BranchingSession(DecodingSession, Protocol):
    """A session whose rows also read several continuations at once."""

    @property
    def device(self) -> torch.device: ...

    def extend(self, ids: Tensor, depth: Tensor, among: Tensor) -> Tensor:
        """All rows read n more tokens, a tree of continuations.

        Args:
            ids: The tokens (rows, n).
            depth: How far after the row's end each token is (rows, n).
            among: Which of the new tokens each attends to (rows, n, n).

        Returns:
            Hidden states (rows, n, width).
        """
        ...


def shared_prefix(network: FastNetwork, prompts: Sequence[Tokens]) -> Prefix:
    """The shared prefix of all `prompts`, read once; at least one token is left to each prompt."""
    tokens: list[int] = []
    if len(prompts) > 1:
        rows = [list(prompt) for prompt in prompts]
        low, high, most = min(rows), max(rows), min(map(len, rows)) - 1
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
        worth = network.shortest_shared_prefix
        tokens = low[: min(same, most)] if worth is not None and min(same, most) >= worth else []
    if not network.uses_slots:
        return Prefix(tokens)
    with network.predicting():
        return Prefix(tokens, network.prefix(tokens))


def begin_session(network: FastNetwork, prefix: Prefix, rows: int, capacity: int) -> BranchingSession:
    """A session for at most `rows` rows at once, each of at most `capacity` tokens after the `prefix`."""
    if network.uses_slots:
        return SlotSession(network, prefix, rows, capacity)
    return CacheSession(network, prefix)


class CacheSession:
    """A session on transformers' own cache and attention, with masks: for models whose attention cannot be replaced.
    See `DecodingSession` for the methods."""

    accepts_rows: bool = False

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
    def speculates(self) -> bool:
        """Proposed tokens of one row pad the others, perhaps to positions where rotary frequencies change."""
        return self.network.rotary_switch is None

    def fits_into_step(self, tokens: int) -> bool:
        return False

    def advance(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
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
