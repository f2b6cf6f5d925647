"""Decoding sessions: rows that have read their prompts and continue token by token.

Keys and values of each row are in a slot that is allocated once, and attention reads them in place. The shared prefix
of all rows is read once; each row reads its own prompt, then its next tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from stepladder.engine.decoding.fused_step import Slots, Steps, at_once
from stepladder.engine.fast import varlen
from stepladder.engine.fast.attention import (
    attention_with_weight,
    causal_attention,
    fold_groups,
    merge_rows,
    split_rows,
    unfold_groups,
)
from stepladder.engine.fast.cuda_graphs import CudaGraphs
from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.fast.techniques import ON

Tokens = Sequence[int]
FEW = 8  # new tokens of a row up to which it attends to a long shared prefix in place; with more, a copy costs less
COPIED = 128  # columns up to which a shared prefix is copied into every slot once;
COPIED_ON_GPU = 1024  # there a copy costs less than more operations
REPLAYED = 512  # tokens, those of empty slots included, that a GPU computes in about the time of reading the weights
STEPPED = 64  # tokens up to which a compiled step takes any number of columns: each token attends by itself,
STEPPED_COLUMNS = 2**16  # so with more tokens, and more columns of all together than this, whole rows are faster


@dataclass(frozen=True)
class Prefix:
    """The shared prefix of all rows: its tokens, and its keys and values of each layer where they are kept for all."""

    tokens: Tokens = ()
    kept: list[tuple[Tensor, Tensor]] | None = None

    @property
    def columns(self) -> int:
        """How many columns precede each row's own, virtual tokens included."""
        return self.kept[0][0].shape[2] if self.kept else 0


def shared_prefix(network: FastNetwork, prompts: Sequence[Tokens]) -> Prefix:
    """The shared prefix of all `prompts`, read once; at least one token is left to each prompt."""
    tokens: list[int] = []
    if len(prompts) > 1:
        rows = [list(prompt) for prompt in prompts]
        low, high, most = min(rows), max(rows), min(map(len, rows)) - 1
        same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), most)
        worth = network.shortest_shared_prefix
        tokens = low[: min(same, most)] if worth is not None and min(same, most) >= worth else []
    with network.predicting():
        return Prefix(tokens, network.prefix(tokens))


class DecodingSession:
    """Rows with a KV-cache slot each, numbered from 0 in the order in which they were added.

    A short shared prefix is copied into every slot; a longer one is kept once.

    Args:
        rows: How many rows there are at most.
        capacity: How many tokens a row has at most, without the shared prefix.
    """

    def __init__(self, network: FastNetwork, prefix: Prefix, rows: int, capacity: int) -> None:
        self.network, self.prefix, self.rows, self.decoder = network, prefix, rows, network.decoder()
        few = COPIED_ON_GPU if self.device.type == "cuda" else COPIED
        self.copied = prefix.columns if prefix.columns <= few else 0
        self.ahead = prefix.columns - self.copied
        self.capacity = self.copied + capacity
        self.lengths: list[int] = []  # of each row, with the copied prefix
        self._layers: dict[int, Slots] = {}
        self._steps: Steps | None = None

    @property
    def accepts_rows(self) -> bool:
        """Whether new rows may begin while others are generated."""
        return ON.refill

    @property
    def device(self) -> torch.device:
        return self.network.device

    @cached_property
    def _at_once(self) -> int:
        return at_once(self.decoder) if self.decoder else 0

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        """Add rows, which read their prompts. Returns the hidden state at each one's end (rows, width)."""
        return self._go_on(len(self.lengths), prompts, ends=True)

    def fits_into_step(self, tokens: int) -> bool:
        """Whether new rows best begin in the pass in which the others advance, if that pass has this many tokens."""
        return (
            self.accepts_rows
            and tokens <= self._at_once
            and (tokens <= STEPPED or tokens * self.capacity <= STEPPED_COLUMNS)
        )

    def advance(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        """Each row reads its own next `tokens`, one or more, and new rows their `prompts`.

        Returns:
            Hidden states (tokens + prompts, width): of all tokens, row by row, then at the end of each prompt.
        """
        hidden = self._go_on(0, [*tokens, *prompts])
        if not prompts:
            return hidden
        before = sum(map(len, tokens))
        ends = [before + upto - 1 for upto in accumulate(map(len, prompts))]
        return torch.cat([hidden[:before], hidden[ends]])

    def _go_on(self, first: int, tokens: Sequence[Tokens], ends: bool = False) -> Tensor:
        """The rows from `first` on, the last of which may be new, read their own next tokens. Returns the hidden states
        of all these tokens, or of each row's last."""
        device, new = self.device, first + len(tokens) - len(self.lengths)
        before = torch.tensor([*self.lengths[first:], *[self.copied] * new])
        counts = torch.tensor([len(own) for own in tokens])
        upto = counts.cumsum(0)
        row = torch.repeat_interleave(torch.arange(len(tokens)), counts)
        column = torch.arange(len(row)) + (before - upto + counts)[row]
        ids = torch.tensor([token for own in tokens for token in own])
        self._check_capacity(first + len(tokens), column)
        self.lengths[first:] = (before + counts).tolist()
        steps = self._stepped(column)
        if steps:
            first_of = (row + first) * self.capacity
            hidden = steps(ids, column + self.ahead, first_of + column, first_of, column + 1)
            return hidden[upto - 1] if ends else hidden
        longest = int(counts.max())
        if not ends and self._replays and longest == 1:
            return self._replay(ids, row, column)
        mask = None
        if self.prefix.columns or int(before.max()):
            place = before[:, None] + torch.arange(longest)
            mask = (torch.arange(int(column.max()) + 1) <= place[:, :, None]).to(device)
        pass_ = _Pass.of(self, first, len(tokens), row + first, column, mask)
        return self._forward(ids.to(device), column.to(device), pass_, (upto - 1).to(device) if ends else None)

    @property
    def _replays(self) -> bool:
        """Whether passes should have few shapes: a GPU replays them as CUDA graphs."""
        here = self.decoder is not None and self.device.type == "cuda" and self.rows <= REPLAYED
        return ON.cuda_graphs and here and self._graphs.available

    def _replay(self, ids: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Hidden states of one token of each of some rows, by a pass of one of few shapes: a token in every slot; spare
        tokens go to the place after all slots."""
        columns = min(self.capacity, varlen.round_up(int(column.max()) + 1, 256))
        padded = torch.zeros(3, self.rows, dtype=torch.long)
        padded[2] = self.rows * self.capacity
        padded[:, row] = torch.stack([ids, column, row * self.capacity + column])

        def compute(padded: Tensor) -> Tensor:
            ids, column, slot = padded
            seen = torch.arange(columns, device=padded.device) <= column[:, None, None]
            return self._forward(ids, column, _Pass(self, 0, self.rows, 1, columns, slot, None, seen))

        hidden = self._graphs((columns,), compute, [padded.to(self.device)])
        return hidden if len(row) == len(hidden) else hidden[row.to(self.device)]

    @cached_property
    def _graphs(self) -> CudaGraphs:
        return CudaGraphs(())

    def extend(self, ids: Tensor, depth: Tensor, among: Tensor) -> Tensor:
        """All rows read n more tokens, a tree of continuations.

        Args:
            ids: The tokens (rows, n).
            depth: How far after the row's end each token is (rows, n).
            among: Which of the new tokens each attends to (rows, n, n).

        Returns:
            Hidden states (rows, n, width).
        """
        rows, n = ids.shape
        device = ids.device
        lengths = torch.tensor(self.lengths)[:, None]
        column = lengths + torch.arange(n)
        row = torch.arange(rows).repeat_interleave(n)
        self._check_capacity(rows, column)
        steps = self._stepped(column)
        if steps:
            first, whole = row * self.capacity, lengths.expand(-1, n).flatten()
            positions = whole + depth.flatten() + self.ahead
            place, fresh = first + column.flatten(), among.flatten(0, 1)
            self.lengths = [length + n for length in self.lengths]
            return torch.unflatten(steps(ids.flatten(), positions, place, first, whole, fresh), 0, (rows, n))
        lengths = lengths.to(device)
        mask = (torch.arange(max(self.lengths) + n, device=device) < lengths)[:, None].repeat(1, n, 1)
        mask.scatter_(2, column.to(device)[:, None].expand(-1, n, -1), among)
        pass_ = _Pass.of(self, 0, rows, row, column.flatten(), mask)
        places = lengths + depth
        self.lengths = [length + n for length in self.lengths]
        return torch.unflatten(self._forward(ids.flatten(), places.flatten(), pass_), 0, (rows, n))

    def _check_capacity(self, rows: int, columns: Tensor) -> None:
        if rows > self.rows:
            raise IndexError(f"{rows} rows in {self.rows} slots")
        if int(columns.max()) >= self.capacity:
            raise IndexError(f"column {int(columns.max())} in slots of {self.capacity}")

    def _stepped(self, columns: Tensor) -> Steps | None:
        """The compiled steps for tokens that go to `columns`; None where other passes take less time."""
        tokens = columns.numel()
        if (
            self.decoder is None
            or tokens > self._at_once
            or (tokens > STEPPED and int(columns.sum()) > STEPPED_COLUMNS)
        ):
            return None
        if self._steps is None:
            form, count = self.decoder.layers[0], len(self.decoder.layers)
            slots = [self.layer(at, form.key_heads, form.size, self.decoder.dtype) for at in range(count)]
            self._steps = Steps(self.decoder, slots)
        return self._steps

    def keep(self, rows: Sequence[int]) -> None:
        """Remove all other rows; these are numbered anew, in this order."""
        moved = [(to, at) for to, at in enumerate(rows) if to != at]
        if moved:
            to, at = (torch.tensor(places, device=self.network.device) for places in zip(*moved, strict=True))
            longest = max(self.lengths[row] for _, row in moved)
            for layer in self._layers.values():
                for kept in (layer.keys, layer.values):
                    slots = self.slots(kept)
                    slots[to, :longest] = slots[at, :longest]
        self.lengths = [self.lengths[row] for row in rows]

    def forget(self, tokens: Sequence[int]) -> None:
        """Remove the last tokens of each row, this many."""
        self.lengths = [length - n for length, n in zip(self.lengths, tokens, strict=True)]

    def _forward(self, ids: Tensor, columns: Tensor, pass_: _Pass, wanted: Tensor | None = None) -> Tensor:
        positions = columns + self.ahead
        if self.decoder is not None:
            return self.decoder(ids, positions, pass_, wanted)
        hidden = self.network.forward_with(pass_, ids, positions)
        return hidden if wanted is None else hidden[wanted]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits (n, vocabulary) of hidden states (n, width)."""
        return self.network.logits(hidden, self.decoder.head if self.decoder else None)

    def slots(self, kept: Tensor) -> Tensor:
        """Keys or values as (rows, capacity, heads, size)."""
        return torch.unflatten(kept[:-1], 0, (self.rows, self.capacity))

    def layer(self, index: int, heads: int, size: int, dtype: torch.dtype) -> Slots:
        """The layer's keys and values; allocated when they are first used."""
        if index not in self._layers:
            shape = self.rows * self.capacity + 1, heads, size
            # Zeros: a place that nothing attends to must hold a finite number all the same.
            slots = [torch.zeros(shape, dtype=dtype, device=self.device) for _ in range(2)]
            before = self.prefix.kept[index] if self.prefix.kept else None
            if self.copied and before is not None:
                for kept, first in zip(slots, before, strict=True):
                    self.slots(kept)[:, : self.copied] = first.transpose(1, 2)
            self._layers[index] = Slots(before if self.ahead else None, slots[0], slots[1])
        return self._layers[index]


@dataclass
class _Pass:
    """The attention pattern of a pass of `rows` rows, whose slots begin with `first`; tokens are one after the other.

    Attributes:
        slot: Where the keys and values of each token go (tokens,).
        place: The place of each token among (rows, longest); None: in order, without padding (tokens,).
        mask: Which of its row's columns each token attends to (rows, longest, columns); None: causal.
    """

    session: DecodingSession
    first: int
    rows: int
    longest: int
    columns: int
    slot: Tensor
    place: Tensor | None
    mask: Tensor | None

    def __post_init__(self) -> None:
        self._masks: dict[tuple[int, int, torch.dtype], Tensor] = {}

    @classmethod
    def of(
        cls, session: DecodingSession, first: int, rows: int, row: Tensor, column: Tensor, mask: Tensor | None
    ) -> _Pass:
        """The pass of tokens that go to `row` and `column` (tokens,), tensors on the CPU."""
        counts = torch.bincount(row - first, minlength=rows)
        longest, place = int(counts.max()), None
        if int(counts.min()) < longest:
            starts = counts.cumsum(0) - counts
            at = torch.arange(len(row)) - starts[row - first]
            place = ((row - first) * longest + at).to(session.device)
        slot = (row * session.capacity + column).to(session.device)
        return cls(session, first, rows, longest, int(column.max()) + 1, slot, place, mask)

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        layer = self.session.layer(index, key.shape[1], key.shape[3], key.dtype)
        layer.keys.index_copy_(0, self.slot, key[0].transpose(0, 1))
        layer.values.index_copy_(0, self.slot, value[0].transpose(0, 1))
        keys, values = self._slots(layer.keys), self._slots(layer.values)
        query = self._by_row(query[0].transpose(0, 1))
        if self.mask is None:
            found = causal_attention(query, keys, values, scaling)
        elif self.longest <= FEW and layer.prefix is not None:
            found = self._in_place(query, keys, values, layer.prefix, scaling)
        else:
            found = self._in_blocks(query, keys, values, layer.prefix, scaling)
        found = found.flatten(0, 1)
        return (found if self.place is None else found[self.place])[None]

    def _slots(self, kept: Tensor) -> Tensor:
        """Of the pass's rows the columns that are in use: (rows, heads, columns, size)."""
        slots = self.session.slots(kept)
        return slots[self.first : self.first + self.rows, : self.columns].transpose(1, 2)

    def _by_row(self, flat: Tensor) -> Tensor:
        """(tokens, heads, size) as (rows, heads, longest, size)."""
        if self.place is not None:
            padded = flat.new_zeros(self.rows * self.longest, *flat.shape[1:])
            padded[self.place] = flat
            flat = padded
        return torch.unflatten(flat, 0, (self.rows, self.longest)).transpose(1, 2)

    def _additive_mask(self, groups: int, before: int, dtype: torch.dtype) -> Tensor:
        """What to add to scores of fold_groups queries: (rows, 1, groups * longest, before + columns)."""
        key = groups, before, dtype
        if key not in self._masks:
            assert self.mask is not None
            mask = pad(self.mask, (before, 0), value=True)
            unseen = ~mask.repeat(1, groups, 1)[:, None]
            self._masks[key] = torch.zeros_like(unseen, dtype=dtype).masked_fill_(unseen, -torch.inf)
        return self._masks[key]

    def _in_place(
        self, query: Tensor, keys: Tensor, values: Tensor, prefix: tuple[Tensor, Tensor], scaling: float
    ) -> Tensor:
        """Attention to the prefix and to the row's own columns, combined by their log-sum-exp weights."""
        folds, groups = fold_groups(query, keys), query.shape[1] // keys.shape[1]
        own, own_weight = attention_with_weight(
            folds, keys, values, self._additive_mask(groups, 0, query.dtype), scaling
        )
        ahead, weight = attention_with_weight(merge_rows(folds)[None], prefix[0], prefix[1], None, scaling)
        ahead, weight = split_rows(ahead[0], self.rows), split_rows(weight[0], self.rows)
        share = torch.sigmoid(own_weight - weight)[..., None]
        return unfold_groups(torch.lerp(ahead.float(), own.float(), share).to(values.dtype), self.longest)

    def _in_blocks(
        self, query: Tensor, keys: Tensor, values: Tensor, prefix: tuple[Tensor, Tensor] | None, scaling: float
    ) -> Tensor:
        before = 0
        if prefix is not None:
            before = prefix[0].shape[2]
            keys = torch.cat([prefix[0].expand(self.rows, -1, -1, -1), keys], dim=2)
            values = torch.cat([prefix[1].expand(self.rows, -1, -1, -1), values], dim=2)
        mask = self._additive_mask(query.shape[1] // keys.shape[1], before, query.dtype)
        found = scaled_dot_product_attention(fold_groups(query, keys), keys, values, attn_mask=mask, scale=scaling)
        return unfold_groups(found, self.longest)
