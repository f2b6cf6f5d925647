"""Guesses at what a row writes next, from what was written before and from what a grammar forces.

Knows token ids; knows no network. A guess is read together with the row's last token, and stands as far as the row
would have written the same: texts do not change, fewer passes write them. Where answers repeat each other, by a form or
a style, many tokens come this way; where they do not, guesses are seen to fail and none is read.
Source: speculative decoding (Leviathan et al. 2023, arXiv 2211.17192) with looked-up guesses (Saxena 2023, prompt
lookup decoding).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

Tokens = Sequence[int]
Kind = tuple[bool, int]
"""Whether a guess comes from the row's own text, and how many tokens before it agree."""
FORCED: Kind = (True, -1)
"""What a grammar forces: sure, but where a tokenizer may cut the text in several ways."""
LONGEST = 6  # tokens before a guess that are compared
MOST = 7  # tokens of a guess
WORTH = 0.4  # a token that stands less often costs more than it saves, on two cores in bf16,
WORTH_IF_DEAR = 0.7  # and where it costs more: in float32, and on a GPU, which wants passes of few shapes
KEPT = 2**18  # places that are remembered of all texts


class _Places:
    """Where each pair of tokens, and each token, was last followed by another; at first in `text`."""

    def __init__(self, text: list[int]) -> None:
        self._after: dict[tuple[int, ...], tuple[list[int], int]] = {}
        for at in range(1, len(text)):
            self.add(text, at)

    def add(self, text: list[int], at: int) -> None:
        """`text[at]` follows what stands before it."""
        if len(self._after) >= KEPT:
            self._after.clear()
        for n in range(1, min(at, 2) + 1):
            self._after[tuple(text[at - n : at])] = text, at

    def find(self, text: list[int]) -> tuple[list[int], int] | None:
        return self._after.get(tuple(text[-2:])) or self._after.get(tuple(text[-1:]))


class Drafts:
    """What is known of all texts; `first` is what they begin with. `dear`: whether more tokens of a pass are."""

    def __init__(self, first: Tokens, dear: bool = False) -> None:
        self.worth = WORTH_IF_DEAR if dear else WORTH
        self.shared = _Places(list(first))
        self._right: defaultdict[Kind, list[int]] = defaultdict(lambda: [1, 2])  # guesses that were right, of so many
        self._right[FORCED] = [99, 100]

    def begin(self, prompt: Tokens) -> Drafted:
        return Drafted(self, prompt)

    def share(self, kind: Kind) -> float:
        """How often guesses of the kind were right."""
        right, tried = self._right[kind]
        return right / tried

    def compare(self, kind: Kind, right: bool) -> None:
        self._right[kind][0] += right
        self._right[kind][1] += 1


class Drafted:
    """One row's text as it grows, and guesses at how it goes on."""

    def __init__(self, drafts: Drafts, prompt: Tokens) -> None:
        self._drafts, self._text = drafts, list(prompt)
        self._own = _Places(self._text)
        self._guesses: list[tuple[Kind, int]] = []

    def guess(self, most: int, forced: Tokens = ()) -> Tokens:
        """At most so many tokens that may follow and are worth being read; a grammar leaves no choice of `forced`."""
        own = self._own.find(self._text)
        text, at = own or self._drafts.shared.find(self._text) or ([], 0)
        alike = _alike(text, at, self._text)
        found, forced = text[at : at + MOST], list(forced[:MOST])
        if found[: len(forced)] != forced:
            found = forced
        self._guesses, worth, chance = [], 0, 1.0
        for depth, token in enumerate(found[:most]):
            kind = FORCED if depth < len(forced) else (own is not None, min(alike + depth, LONGEST))
            chance *= self._drafts.share(kind)
            self._guesses.append((kind, token))  # the first that is not worth it too: it may be right
            if chance < self._drafts.worth:
                break
            worth += 1
        return [token for _, token in self._guesses[:worth]]

    def write(self, tokens: Tokens) -> None:
        """These were written; what was guessed is compared with them."""
        for (kind, guessed), token in zip(self._guesses, tokens, strict=False):
            self._drafts.compare(kind, guessed == token)
        self._guesses = []
        for token in tokens:
            self._text.append(token)
            for places in (self._own, self._drafts.shared):
                places.add(self._text, len(self._text) - 1)


def _alike(text: list[int], at: int, other: list[int]) -> int:
    """How many tokens before `text[at]` are those at the end of `other`, as far as it matters."""
    n = 0
    while n < min(LONGEST, at, len(other)) and text[at - 1 - n] == other[-1 - n]:
        n += 1
    return n
