"""Keys and values in slots made once, a row in each, and attention that looks at them where they lie.

Knows token ids, places and the network; knows no text, no label and nothing of when a row is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from stepladder.engine.decoding.fused_step import Steps, at_once
from stepladder.engine.fast import varlen
from stepladder.engine.fast.attention import apart, causally, folded, together, unfolded, weighed
from stepladder.engine.fast.cuda_graphs import Recordings
from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.fast.techniques import ON

Tokens = Sequence[int]
FEW = 8  # up to so many new tokens a row, a long shared prefix is looked at in place; with more, copying it costs less
COPIED = 128  # up to so many columns, a shared prefix is copied into every slot once;
COPIED_ON_GPU = 1024  # there that costs less than to ask for more operations
PLAYED = 512  # up to so many tokens, those of empty slots too, a GPU computes in about the time of reading weights
STEPPED = 64  # up to so many tokens a step looks at any number of columns; each token of a step looks for itself,
LOOKED_AT = 2**16  # and with more, and together more columns than this, rows are better looked at as a whole


@dataclass(frozen=True)
class Prefix:
    """What all rows begin with: its tokens, and its keys and values by layer where they are kept for all."""

    tokens: Tokens = ()
    kept: list[tuple[Tensor, Tensor]] | None = None

    @property
    def columns(self) -> int:
        """How many columns stand before each row's own, virtual tokens included."""
        return self.kept[0][0].shape[2] if self.kept else 0


@dataclass
class _Layer:
    """Keys and values of a layer: those of a prefix that is looked at in place (1, heads, columns, size), and the
    slots' (rows * room + 1, heads, size), the last for what nobody sees."""

    prefix: tuple[Tensor, Tensor] | None
    keys: Tensor
    values: Tensor


class SlotReading:
    """Keys and values lie in slots made once, a row in each, and are looked at where they lie.

    A short prefix stands at the beginning of every slot; a longer one lies beside them, once for all.
    """

    def __init__(self, network: FastNetwork, prefix: Prefix, rows: int, room: int) -> None:
        self.network, self.prefix, self.rows, self.body = network, prefix, rows, network.body()
        few = COPIED_ON_GPU if self.device.type == "cuda" else COPIED
        self.copied = prefix.columns if prefix.columns <= few else 0
        self.ahead = prefix.columns - self.copied
        self.room = self.copied + room
        self.lengths: list[int] = []  # of each row, what is copied counted in
        self._layers: dict[int, _Layer] = {}
        self._steps: Steps | None = None

    @property
    def takes_more(self) -> bool:
        return ON.refill

    @property
    def device(self) -> torch.device:
        return self.network.device

    @cached_property
    def _at_once(self) -> int:
        return at_once(self.body) if self.body else 0

    def read(self, prompts: Sequence[Tokens]) -> Tensor:
        return self._go_on(len(self.lengths), prompts, ends=True)

    def takes_at_once(self, tokens: int) -> bool:
        return self.takes_more and tokens <= self._at_once and (tokens <= STEPPED or tokens * self.room <= LOOKED_AT)

    @property
    def guesses(self) -> bool:
        return not self._plays or self.rows * FEW <= PLAYED

    def go_on(self, tokens: Sequence[Tokens], prompts: Sequence[Tokens] = ()) -> Tensor:
        hidden = self._go_on(0, [*tokens, *prompts])
        if not prompts:
            return hidden
        before = sum(map(len, tokens))
        ends = [before + upto - 1 for upto in accumulate(map(len, prompts))]
        return torch.cat([hidden[:before], hidden[ends]])

    def _go_on(self, first: int, tokens: Sequence[Tokens], ends: bool = False) -> Tensor:
        """The rows from `first` on, the last of which may be new, read their own next tokens: hidden states of all, or
        of each row's last."""
        device, new = self.device, first + len(tokens) - len(self.lengths)
        before = torch.tensor([*self.lengths[first:], *[self.copied] * new])
        counts = torch.tensor([len(own) for own in tokens])
        upto = counts.cumsum(0)
        row = torch.repeat_interleave(torch.arange(len(tokens)), counts)
        column = torch.arange(len(row)) + (before - upto + counts)[row]
        ids = torch.tensor([token for own in tokens for token in own])
        self._check_room(first + len(tokens), column)
        self.lengths[first:] = (before + counts).tolist()
        steps = self._stepped(column)
        if steps:
            first_of = (row + first) * self.room
            hidden = steps(ids, column + self.ahead, first_of + column, first_of, column + 1)
            return hidden[upto - 1] if ends else hidden
        longest = int(counts.max())
        if not ends and self._plays and longest <= (FEW if self.guesses else 1):
            return self._play(ids, row, column, column - before[row], longest)
        mask = None
        if self.prefix.columns or int(before.max()):
            place = before[:, None] + torch.arange(longest)
            mask = (torch.arange(int(column.max()) + 1) <= place[:, :, None]).to(device)
        pass_ = _Pass.of(self, first, len(tokens), row + first, column, mask)
        return self._forward(ids.to(device), column.to(device), pass_, (upto - 1).to(device) if ends else None)

    @property
    def _plays(self) -> bool:
        """Whether passes of few shapes are worth having: a GPU plays them from recordings."""
        here = self.body is not None and self.device.type == "cuda" and self.rows <= PLAYED
        return ON.cuda_graphs and here and self._recordings.able

    def _play(self, ids: Tensor, row: Tensor, column: Tensor, depth: Tensor, longest: int) -> Tensor:
        """Hidden states of tokens that stand `depth` (tokens,) behind their rows' ends, by a pass of one of few shapes:
        all slots have rows and all rows as many tokens; what is too much goes to the place behind all slots."""
        each = 1 if longest == 1 else FEW
        columns = min(self.room, varlen.room(int(column.max()) + 1, 256))
        at = row * each + depth
        laid = torch.zeros(3, self.rows * each, dtype=torch.long)
        laid[2] = self.rows * self.room
        laid[:, at] = torch.stack([ids, column, row * self.room + column])

        def compute(laid: Tensor) -> Tensor:
            ids, column, slot = laid
            seen = torch.arange(columns, device=laid.device) <= torch.unflatten(column, 0, (self.rows, each, 1))
            return self._forward(ids, column, _Pass(self, 0, self.rows, each, columns, slot, None, seen))

        hidden = self._recordings((each, columns), compute, [laid.to(self.device)])
        return hidden if len(at) == len(hidden) else hidden[at.to(self.device)]

    @cached_property
    def _recordings(self) -> Recordings:
        return Recordings(())

    def extend(self, ids: Tensor, depth: Tensor, among: Tensor) -> Tensor:
        rows, n = ids.shape
        device = ids.device
        lengths = torch.tensor(self.lengths)[:, None]
        column = lengths + torch.arange(n)
        row = torch.arange(rows).repeat_interleave(n)
        self._check_room(rows, column)
        steps = self._stepped(column)
        if steps:
            first, whole = row * self.room, lengths.expand(-1, n).flatten()
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

    def _check_room(self, rows: int, columns: Tensor) -> None:
        if rows > self.rows:
            raise IndexError(f"{rows} rows in {self.rows} slots")
        if int(columns.max()) >= self.room:
            raise IndexError(f"column {int(columns.max())} in slots of {self.room}")

    def _stepped(self, columns: Tensor) -> Steps | None:
        """What reads tokens that go to `columns` in one compiled call, where that takes less time."""
        tokens = columns.numel()
        if self.body is None or tokens > self._at_once or (tokens > STEPPED and int(columns.sum()) > LOOKED_AT):
            return None
        if self._steps is None:
            form = self.body.layers[0]
            made = [self.layer(at, form.key_heads, form.size, self.body.dtype) for at in range(len(self.body.layers))]
            self._steps = Steps(self.body, made)
        return self._steps

    def keep(self, rows: Sequence[int]) -> None:
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
        self.lengths = [length - n for length, n in zip(self.lengths, tokens, strict=True)]

    def _forward(self, ids: Tensor, columns: Tensor, pass_: _Pass, wanted: Tensor | None = None) -> Tensor:
        positions = columns + self.ahead
        if self.body is not None:
            return self.body(ids, positions, pass_, wanted)
        hidden = self.network.through(pass_, ids, positions)
        return hidden if wanted is None else hidden[wanted]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.network.logits(hidden, self.body.head if self.body else None)

    def slots(self, kept: Tensor) -> Tensor:
        """Keys or values as (rows, room, heads, size)."""
        return torch.unflatten(kept[:-1], 0, (self.rows, self.room))

    def layer(self, index: int, heads: int, size: int, dtype: torch.dtype) -> _Layer:
        """The layer's keys and values, of so many heads; made when they are first asked for."""
        if index not in self._layers:
            shape = self.rows * self.room + 1, heads, size
            # Zeros: a place that nobody sees must hold a number all the same.
            slots = [torch.zeros(shape, dtype=dtype, device=self.device) for _ in range(2)]
            before = self.prefix.kept[index] if self.prefix.kept else None
            if self.copied and before is not None:
                for kept, first in zip(slots, before, strict=True):
                    self.slots(kept)[:, : self.copied] = first.transpose(1, 2)
            self._layers[index] = _Layer(before if self.ahead else None, slots[0], slots[1])
        return self._layers[index]


@dataclass
class _Pass:
    """The tokens of one pass, end to end, of `rows` rows in slots from `first` on: `slot` (tokens,) is where each goes,
    and `place` (tokens,) where each stands among (rows, longest), None: one after the other.

    mask (rows, longest, columns): which of its row's columns each sees; None: itself and those before it.
    """

    reading: SlotReading
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
    def of(cls, reading: SlotReading, first: int, rows: int, row: Tensor, column: Tensor, mask: Tensor | None) -> _Pass:
        """Of tokens that go to `row` and `column` (tokens,), which are in the processor's memory."""
        counts = torch.bincount(row - first, minlength=rows)
        longest, place = int(counts.max()), None
        if int(counts.min()) < longest:
            starts = counts.cumsum(0) - counts
            at = torch.arange(len(row)) - starts[row - first]
            place = ((row - first) * longest + at).to(reading.device)
        slot = (row * reading.room + column).to(reading.device)
        return cls(reading, first, rows, longest, int(column.max()) + 1, slot, place, mask)

    def attend(self, index: int, query: Tensor, key: Tensor, value: Tensor, scaling: float, dropout: float) -> Tensor:
        layer = self.reading.layer(index, key.shape[1], key.shape[3], key.dtype)
        layer.keys.index_copy_(0, self.slot, key[0].transpose(0, 1))
        layer.values.index_copy_(0, self.slot, value[0].transpose(0, 1))
        keys, values = self._slots(layer.keys), self._slots(layer.values)
        query = self._by_row(query[0].transpose(0, 1))
        if self.mask is None:
            found = causally(query, keys, values, scaling)
        elif self.longest <= FEW and layer.prefix is not None:
            found = self._in_place(query, keys, values, layer.prefix, scaling)
        else:
            found = self._in_blocks(query, keys, values, layer.prefix, scaling)
        found = found.flatten(0, 1)
        return (found if self.place is None else found[self.place])[None]

    def _slots(self, kept: Tensor) -> Tensor:
        """Of the pass's rows the columns that are written: (rows, heads, columns, size)."""
        slots = self.reading.slots(kept)
        return slots[self.first : self.first + self.rows, : self.columns].transpose(1, 2)

    def _by_row(self, flat: Tensor) -> Tensor:
        """(tokens, heads, size) as (rows, heads, longest, size)."""
        if self.place is not None:
            padded = flat.new_zeros(self.rows * self.longest, *flat.shape[1:])
            padded[self.place] = flat
            flat = padded
        return torch.unflatten(flat, 0, (self.rows, self.longest)).transpose(1, 2)

    def _seen(self, groups: int, before: int, dtype: torch.dtype) -> Tensor:
        """What to add to scores of folded queries: (rows, 1, groups * longest, before + columns)."""
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
        """What a row sees of the prefix and of its own, each with the logarithm of its weight, then joined."""
        folds, groups = folded(query, keys), query.shape[1] // keys.shape[1]
        own, own_weight = weighed(folds, keys, values, self._seen(groups, 0, query.dtype), scaling)
        ahead, weight = weighed(together(folds)[None], prefix[0], prefix[1], None, scaling)
        ahead, weight = apart(ahead[0], self.rows), apart(weight[0], self.rows)
        share = torch.sigmoid(own_weight - weight)[..., None]
        return unfolded(torch.lerp(ahead.float(), own.float(), share).to(values.dtype), self.longest)

    def _in_blocks(
        self, query: Tensor, keys: Tensor, values: Tensor, prefix: tuple[Tensor, Tensor] | None, scaling: float
    ) -> Tensor:
        before = 0
        if prefix is not None:
            before = prefix[0].shape[2]
            keys = torch.cat([prefix[0].expand(self.rows, -1, -1, -1), keys], dim=2)
            values = torch.cat([prefix[1].expand(self.rows, -1, -1, -1), values], dim=2)
        mask = self._seen(query.shape[1] // keys.shape[1], before, query.dtype)
        found = scaled_dot_product_attention(folded(query, keys), keys, values, attn_mask=mask, scale=scaling)
        return unfolded(found, self.longest)
