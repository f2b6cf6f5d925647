"""What rows have read, and what they read next.

Knows token ids, places and the network; knows no text and no label. Rows begin with a prefix that all share, read once;
each reads its own prompt, then goes on from there. `begin` chooses how keys and values are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from stepladder.errors import ModelError
from stepladder.models.attention import UnsuitedError
from stepladder.models.configuration import masks_are_known, unknown_windows, window, windows
from stepladder.models.network import Network, Path
from stepladder.models.plain import repeated
from stepladder.models.slots import Prefix, SlotReading, Tokens


class Reading(Protocol):
    """Rows on their way, counted from nought in the order in which they came.

    takes_more: whether new rows may begin while others are on their way.
    """

    takes_more: bool

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


def shared(network: Network, prompts: Sequence[Tokens]) -> Prefix:
    """What all `prompts` begin with, read once; at least one token is left to each."""
    tokens: list[int] = []
    if len(prompts) > 1:
        rows = [list(prompt) for prompt in prompts]
        low, high, most = min(rows), max(rows), min(map(len, rows)) - 1
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
        tokens = low[: min(same, most)]
    if not network.ours:
        return Prefix(tokens)
    with network.predicting():
        return Prefix(tokens, network.prefix(tokens))


def begin(network: Network, prefix: Prefix, rows: int, room: int) -> BranchReading:
    """A reading for at most `rows` rows at once, each of at most `room` tokens after the `prefix`."""
    if network.ours:
        return SlotReading(network, prefix, rows, room)
    return CacheReading(network, prefix)


class CacheReading:
    """Keys and values lie in transformers' own cache, and its own attention looks at them through masks: for models
    that want more of their attention than ours does."""

    takes_more: bool = False

    def __init__(self, network: Network, prefix: Prefix) -> None:
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
        return self.network.switch is None

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


_FAULTS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, AssertionError, UnsuitedError)
"""What is raised where a model is run in a way that it does not take."""
_PROBED_WINDOW = 64


def choose_path(network: Network) -> None:
    """Find out on which path the network is run: the first on which two rows of unequal length, read in parts, give
    what the model's own forward gives of each alone, unpadded.

    Windows of up to 64 tokens are probed too; a model whose configuration names other bounds of what a token sees than
    `sliding_window` takes the plain path. Raises ModelError where the model's own forward fails, or looks at later
    tokens.
    """
    rows = _probes(network)
    with network.predicting():
        try:
            own = [network.own_forward(torch.tensor([row], device=network.device))[0][0] for row in rows]
        except _FAULTS as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise _unfit(network, f"can not be run: {why}") from error
        changed, _ = network.own_forward(torch.tensor([[*rows[0][:-1], rows[0][0]]], device=network.device))
        if not _near(own[0][:-1], changed[0, :-1]):
            raise _unfit(network, "is not causal: a token's result depends on the tokens after it")
        network.path = next((path for path in _candidates(network) if _serves(network, path, rows, own)), "plain")
        if network.path == "plain" or network.switch is not None:
            network.continues = _continues(network, rows, own)
        if network.path == "plain" and network.virtual is None:
            network.packs.length_bound = _length_bound(network)
        if network.depends_on_length(_PROBED_WINDOW + 1):  # `generate` takes its cache all the same
            network.continues = network.continues or _steps(network, rows[0])
    if network.virtual is None:
        network.packs.path, network.packs.continues = network.path, network.continues


def _probes(network: Network) -> list[list[int]]:
    """Two rows that begin with the same two tokens, the first longer than any small window."""
    small = [window for window in windows(network.config) if window <= _PROBED_WINDOW]
    lengths = [max([2, *small]) + 4, 5]
    # From all over the vocabulary: the first tokens are often odd.
    tokens = [at * 7919 % network.vocabulary for at in range(1, sum(lengths) + 1)]
    long, short = tokens[: lengths[0]], tokens[lengths[0] :]
    return [long, [*long[:2], *short[2:]]]


def _candidates(network: Network) -> list[Path]:
    """Paths that are worth being tried, the fastest first."""
    if not masks_are_known(network.config) or network.switch == 0 or network.packs.path == "plain":
        return []
    return ["slots", "cache"] if network.suits and network.packs.path != "cache" else ["cache"]


def _serves(network: Network, path: Path, rows: Sequence[Tokens], own: Sequence[Tensor]) -> bool:
    """Whether the two rows, read in parts on this path, give their `own` logits (tokens, vocabulary)."""
    network.path = path
    try:
        if network.virtual is None:
            network.packs.own_head = False
            hidden, _ = network.read(torch.tensor([rows[0]], device=network.device))
            network.packs.own_head = not _near(network.logits(hidden[0]), own[0])
        prefix = shared(network, rows)
        reading = begin(network, prefix, len(rows), max(map(len, rows)) + 8)
        cuts = [len(row) - 2 for row in rows]
        ends = reading.logits(
            reading.read([row[len(prefix.tokens) : cut] for row, cut in zip(rows, cuts, strict=True)])
        )
        chain_and_other = torch.tensor([[True, False, False], [True, True, False], [False, False, True]])
        branches = reading.extend(
            torch.tensor([[*row[cut:], row[0]] for row, cut in zip(rows, cuts, strict=True)], device=network.device),
            torch.tensor([[0, 1, 0]] * len(rows), device=network.device),
            chain_and_other.expand(len(rows), -1, -1).to(network.device),
        )
        reading.forget([3] * len(rows))
        after = reading.logits(reading.go_on([rows[0][cuts[0] :], rows[1][cuts[1] : -1]]))
        chains = [reading.logits(each[:2]) for each in branches]
    except _FAULTS:
        return False
    wanted = [each[cut:] for each, cut in zip(own, cuts, strict=True)]
    pairs = [
        (ends, torch.stack([each[cut - 1] for each, cut in zip(own, cuts, strict=True)])),
        *zip(chains, wanted, strict=True),
        (after, torch.cat([wanted[0], wanted[1][:1]])),
    ]
    return all(_near(found, right) for found, right in pairs)


def _continues(network: Network, rows: Sequence[Tokens], own: Sequence[Tensor]) -> bool:
    """Whether the model's own cache, of one row or repeated for several, continues as a whole row does."""
    try:
        for row, right in zip(rows, own, strict=True):
            ids = torch.tensor([row], device=network.device)
            _, cache = network.own_forward(ids[:, :-2], keep=True)
            if cache is None:
                return False
            found = [network.own_forward(ids[:, -2:].expand(2, -1), repeated(cache, 2))[0][1]]
            for at in (-2, -1):
                logits, cache = network.own_forward(ids[:, at : at + 1 or None], cache)
                found.append(logits[0])
            if not (_near(found[0], right[-2:]) and _near(torch.cat(found[1:]), right[-2:])):
                return False
    except _FAULTS:
        return False
    return True


def _steps(network: Network, row: Tokens) -> bool:
    """Whether the model's own cache can be read on from, token by token."""
    ids = torch.tensor([row], device=network.device)
    try:
        _, cache = network.own_forward(ids[:, :-1], keep=True)
        return cache is not None and network.own_forward(ids[:, -1:], cache)[1] is not None
    except _FAULTS:
        return False


def _length_bound(network: Network) -> int | None:
    """The number of tokens above which results may depend on how long a row is; None if they never do.

    Some models rank what a token sees and keep the best (Doge, the indexers of DeepSeek and Hunyuan): of equal ranks,
    which repeated tokens have, the row's length decides. Bounds of up to `_PROBED_WINDOW` tokens are tried with a row
    of few different tokens; longer ones are not tried, and count.
    """
    bounds = unknown_windows(network.config)
    length = min(2 * _PROBED_WINDOW + 8, window(network.config, None))
    row = torch.tensor([[at * at % 61 % network.vocabulary for at in range(length)]], device=network.device)
    whole, _ = network.own_forward(row)
    for cut in (1, length // 8):
        part, _ = network.own_forward(row[:, :-cut])
        if not _near(part[0, length // 2 :], whole[0, length // 2 : -cut]):
            return min(bounds, default=0)
    return min((bound for bound in bounds if bound > _PROBED_WINDOW), default=None)


def _near(found: Tensor, right: Tensor) -> bool:
    """Whether log-probabilities by these logits (n, vocabulary) are the same but for rounding."""
    limit = 1e-3 if right.dtype == torch.float32 else 0.5
    found, right = (logits.float().log_softmax(dim=-1) for logits in (found, right))
    apart = (found - right).abs().masked_fill_(found == right, 0.0)  # of two infinite ones too
    return bool(apart.mean() < limit)


def _unfit(network: Network, why: str) -> ModelError:
    return ModelError(
        f"A model of type '{network.config.model_type}' can not be used: it {why}",
        "model",
        "choose a decoder-only language model (Llama, Qwen, Mistral, Gemma, Phi, ...)",
    )
