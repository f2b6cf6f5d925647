"""What rows have read, and what they read next.

Knows token ids, places and the network; knows no text and no label. Rows begin with a prefix that all share, read once;
each reads its own prompt, then goes on from there. `begin` chooses how keys and values are kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from stepladder.errors import ModelError
from stepladder.model.attention import apart, causally, folded, together, unfolded
from stepladder.model.network import Network

Tokens = Sequence[int]
FEW = 4  # up to so many new tokens a row, the shared prefix is looked at in place; with more, copying it costs less


class Reading(Protocol):
    """Rows on their way, counted from nought in the order in which they came.

    takes_more: whether new rows may begin while others are on their way.
    """

    takes_more: bool

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        """New rows, after those there are, read their prompts: the hidden state at each one's end (rows, width)."""
        ...

    def extend(self, ids: Tensor, depth: Tensor | None = None, among: Tensor | None = None) -> Tensor:
        """All rows read n more tokens `ids` (rows, n): their hidden states (rows, n, width).

        depth (rows, n): how far behind the row's end each stands; among (rows, n, n): which of the new tokens each
        sees. Without both they stand one after the other.
        """
        ...

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these; they are counted anew, in this order."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width)."""
        ...


@dataclass(frozen=True)
class Prefix:
    """What all rows begin with: its tokens, and its keys and values by layer where they are kept for all."""

    tokens: Tokens = ()
    kept: list[tuple[Tensor, Tensor]] | None = None

    @property
    def columns(self) -> int:
        """How many columns stand before each row's own, virtual tokens included."""
        return self.kept[0][0].shape[2] if self.kept else 0


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


def begin(network: Network, prefix: Prefix, rows: int, room: int) -> Reading:
    """A reading for at most `rows` rows at once, each of at most `room` tokens after the `prefix`."""
    if network.ours:
        return SlotReading(network, prefix, rows, room)
    return CacheReading(network, prefix)


@dataclass
class _Layer:
    """Keys and values of a layer: the prefix's (1, heads, columns, size), and the rows' (rows, heads, room, size)."""

    prefix: tuple[Tensor, Tensor] | None
    keys: Tensor
    values: Tensor


@dataclass
class SlotReading:
    """Keys and values lie in slots made once, a row in each, and are looked at where they lie."""

    network: Network
    prefix: Prefix
    rows: int
    room: int
    lengths: list[int] = field(default_factory=list)
    takes_more: bool = True
    _layers: dict[int, _Layer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.body = self.network.body()

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        first, device = len(self.lengths), self.network.device
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        row = torch.repeat_interleave(torch.arange(len(prompts)), lengths)
        ends = lengths.cumsum(0)
        column = torch.arange(len(row)) - (ends - lengths)[row]
        ids = torch.tensor([token for prompt in prompts for token in prompt])
        mask = None
        if self.prefix.columns:
            mask = torch.arange(int(lengths.max())) <= torch.arange(int(lengths.max()))[:, None]
            mask = mask.expand(len(prompts), -1, -1).to(device)
        pass_ = _Pass(self, first, len(prompts), (row + first).to(device), column.to(device), mask)
        self.lengths += lengths.tolist()
        hidden = self._forward(ids.to(device), column.to(device), pass_)
        return hidden[(ends - 1).to(device)]

    def extend(self, ids: Tensor, depth: Tensor | None = None, among: Tensor | None = None) -> Tensor:
        rows, n = ids.shape
        device = ids.device
        lengths = torch.tensor(self.lengths, device=device)[:, None]
        steps = torch.arange(n, device=device)
        column = lengths + steps
        columns = max(self.lengths) + n
        mask = (torch.arange(columns, device=device) < lengths)[:, None].repeat(1, n, 1)
        among = (steps <= steps[:, None]).expand(rows, -1, -1) if among is None else among
        mask.scatter_(2, column[:, None].expand(-1, n, -1), among)
        row = torch.arange(rows, device=device).repeat_interleave(n)
        pass_ = _Pass(self, 0, rows, row, column.flatten(), mask)
        places = lengths + (steps if depth is None else depth)
        self.lengths = [length + n for length in self.lengths]
        return torch.unflatten(self._forward(ids.flatten(), places.flatten(), pass_), 0, (rows, n))

    def keep(self, rows: Sequence[int]) -> None:
        moved = [(to, at) for to, at in enumerate(rows) if to != at]
        if moved:
            to, at = (torch.tensor(places, device=self.network.device) for places in zip(*moved, strict=True))
            longest = max(self.lengths[row] for _, row in moved)
            for layer in self._layers.values():
                layer.keys[to, :, :longest] = layer.keys[at, :, :longest]
                layer.values[to, :, :longest] = layer.values[at, :, :longest]
        self.lengths = [self.lengths[row] for row in rows]

    def _forward(self, ids: Tensor, places: Tensor, pass_: _Pass) -> Tensor:
        positions = places + self.prefix.columns
        if self.body is not None:
            return self.body(ids, positions, pass_)
        return self.network.through(pass_, ids, positions)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.network.logits(hidden, self.body.head if self.body else None)

    def layer(self, index: int, key: Tensor) -> _Layer:
        """The layer's keys and values; made when the first key (batch, heads, n, size) comes."""
        if index not in self._layers:
            shape = self.rows, key.shape[1], self.room, key.shape[3]
            # Zeros: a place that nobody sees must hold a number all the same.
            empty = [torch.zeros(shape, dtype=key.dtype, device=key.device) for _ in range(2)]
            before = self.prefix.kept[index] if self.prefix.kept else None
            self._layers[index] = _Layer(before, empty[0], empty[1])
        return self._layers[index]


@dataclass
class _Pass:
    """The tokens of one pass, end to end: `row` and `column` (tokens,) are where each goes, in `rows` slots from
    `first` on. mask (rows, n, columns): which of its row's columns each sees; None: itself and those before it."""

    reading: SlotReading
    first: int
    rows: int
    row: Tensor
    column: Tensor
    mask: Tensor | None

    def __post_init__(self) -> None:
        counts = torch.bincount(self.row - self.first, minlength=self.rows)
        self.longest = int(counts.max())
        self.columns = int(self.column.max()) + 1
        self.place = None  # of each token among (rows, longest), where rows differ in length
        if int(counts.min()) < self.longest:
            starts = counts.cumsum(0) - counts
            at = torch.arange(len(self.row), device=self.row.device) - starts[self.row - self.first]
            self.place = (self.row - self.first) * self.longest + at
        self._masks: dict[tuple[int, int], Tensor] = {}

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        layer = self.reading.layer(index, key)
        layer.keys[self.row, :, self.column] = key[0].transpose(0, 1)
        layer.values[self.row, :, self.column] = value[0].transpose(0, 1)
        slots = slice(self.first, self.first + self.rows)
        keys, values = layer.keys[slots, :, : self.columns], layer.values[slots, :, : self.columns]
        query = self._by_row(query[0].transpose(0, 1))
        if self.mask is None:
            found = causally(query, keys, values, scaling)
        elif self.longest <= FEW:
            found = self._in_place(query, keys, values, layer.prefix, scaling)
        else:
            found = self._in_blocks(query, keys, values, layer.prefix, scaling)
        found = found.flatten(0, 1)
        return (found if self.place is None else found[self.place])[None]

    def _by_row(self, flat: Tensor) -> Tensor:
        """(tokens, heads, size) as (rows, heads, longest, size)."""
        if self.place is not None:
            padded = flat.new_zeros(self.rows * self.longest, *flat.shape[1:])
            padded[self.place] = flat
            flat = padded
        return torch.unflatten(flat, 0, (self.rows, self.longest)).transpose(1, 2)

    def _seen(self, groups: int, before: int, dtype: torch.dtype) -> Tensor:
        """What to add to scores of folded queries: (rows, 1, groups * longest, before + columns)."""
        if (groups, before) not in self._masks:
            assert self.mask is not None
            mask = pad(self.mask, (before, 0), value=True)
            unseen = ~mask.repeat(1, groups, 1)[:, None]
            self._masks[groups, before] = torch.zeros_like(unseen, dtype=dtype).masked_fill_(unseen, -torch.inf)
        return self._masks[groups, before]

    def _in_place(self, query: Tensor, keys: Tensor, values: Tensor, prefix: Any, scaling: float) -> Tensor:
        """Scores in float32: what bfloat16 rounds off them changes the weights."""
        folds, groups = folded(query.float() * scaling, keys), query.shape[1] // keys.shape[1]
        own = folds @ keys.float().transpose(2, 3) + self._seen(groups, 0, torch.float32)
        if prefix is None:
            return unfolded(own.softmax(dim=-1).to(values.dtype) @ values, self.longest)
        before_keys, before = prefix[0][0].float(), prefix[1][0]
        ahead = apart(together(folds) @ before_keys.transpose(1, 2), self.rows)
        weights = torch.cat([ahead, own], dim=-1).softmax(dim=-1).to(values.dtype)
        first, second = weights[..., : before.shape[1]], weights[..., before.shape[1] :]
        return unfolded(apart(together(first) @ before, self.rows) + second @ values, self.longest)

    def _in_blocks(self, query: Tensor, keys: Tensor, values: Tensor, prefix: Any, scaling: float) -> Tensor:
        before = 0
        if prefix is not None:
            before = prefix[0].shape[2]
            keys = torch.cat([prefix[0].expand(self.rows, -1, -1, -1), keys], dim=2)
            values = torch.cat([prefix[1].expand(self.rows, -1, -1, -1), values], dim=2)
        mask = self._seen(query.shape[1] // keys.shape[1], before, query.dtype)
        found = scaled_dot_product_attention(folded(query, keys), keys, values, attn_mask=mask, scale=scaling)
        return unfolded(found, self.longest)


class CacheReading:
    """Keys and values lie in transformers' own cache, and its own attention looks at them through masks: for models
    that want more of their attention than ours does."""

    takes_more: bool = False

    def __init__(self, network: Network, prefix: Prefix) -> None:
        self.network, self.prefix = network, prefix
        self._rows = 0

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

    def extend(self, ids: Tensor, depth: Tensor | None = None, among: Tensor | None = None) -> Tensor:
        steps = torch.arange(ids.shape[1], device=ids.device)
        among = (steps <= steps[:, None]).expand(len(ids), -1, -1) if among is None else among
        positions = self._ends + (steps if depth is None else depth)
        past = self._visible[:, None, :].expand(-1, ids.shape[1], -1)
        seen = torch.cat([self._positions, positions], dim=1)
        hidden = self.network.extend(self._cache, ids, torch.cat([past, among], dim=2), positions, seen)
        self._visible = torch.cat([self._visible, torch.ones_like(ids, dtype=torch.bool)], dim=1)
        self._positions, self._ends = seen, self._ends + ids.shape[1]
        return hidden

    def keep(self, rows: Sequence[int]) -> None:
        if list(rows) != list(range(self._rows)):
            at = torch.tensor(rows, device=self._visible.device)
            self._cache.batch_select_indices(at)
            self._visible, self._positions, self._ends = self._visible[at], self._positions[at], self._ends[at]
        self._rows = len(rows)

    def logits(self, hidden: Tensor) -> Tensor:
        return self.network.logits(hidden)


def check(network: Network) -> None:
    """Raise ModelError when this architecture does not keep to what is taken for granted here.

    Six tokens, read at once by the model's own forward and in two parts by ours, must give the same.
    """
    takes = set(inspect.signature(network.causal.base_model.forward).parameters)
    if not {"position_ids", "past_key_values", "attention_mask"} <= takes:
        raise _unfit(network, "takes no positions")
    other = set(getattr(network.config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if other:
        raise _unfit(network, f"has layers of another kind: {', '.join(sorted(other))}")
    ids = torch.arange(1, 7) * 7919 % network.config.vocab_size  # from all over: the first ones are often odd
    try:
        with network.predicting():
            own = network.causal(ids[None].to(network.device)).logits[0, 3:].float().log_softmax(-1)
            reading = begin(network, shared(network, [ids.tolist()]), 1, 6)
            last = reading.read([ids[:4].tolist()])
            after = reading.extend(ids[None, 4:].to(network.device))
            ours = reading.logits(torch.cat([last, after[0]])).float().log_softmax(-1)
    except (TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise _unfit(network, f"can not be read in two parts: {error}") from error
    difference = float((own - ours).abs().mean())
    if not difference < (1e-2 if last.dtype == torch.float32 else 0.5):
        raise _unfit(
            network, f"computes something of its own: log-probabilities differ by {difference:.3g} in the mean"
        )


def _unfit(network: Network, why: str) -> ModelError:
    return ModelError(
        f"A model of type '{network.config.model_type}' can not be used: it {why}",
        "model",
        "choose a decoder-only model with attention in every layer (Llama, Qwen, Mistral, Gemma, Phi, ...)",
    )
