"""Speculative decoding of the tokens that a JSON schema forces.

A forced token is read together with the row's last one and is kept as far as the row would have written the same:
answers do not change, and fewer passes write them. The tokenizer may cut a forced text in several ways, so it is
measured how often the proposed tokens are the written ones.
Source: Leviathan et al. 2023, arXiv 2211.17192.
"""

from __future__ import annotations

from collections.abc import Sequence

Tokens = Sequence[int]
MOST = 7  # proposed tokens a pass
WORTH = 0.4  # a token that is accepted less often costs more than it saves, on two cores in bf16,
WORTH_IF_EXPENSIVE = 0.7  # and where more tokens of a pass cost more: in float32, and on a GPU


class Speculation:
    """How many forced tokens are worth reading ahead. `expensive`: whether more tokens of a pass cost much more."""

    def __init__(self, expensive: bool = False) -> None:
        self.worth = WORTH_IF_EXPENSIVE if expensive else WORTH
        self._accepted, self._proposed = 99, 100

    def proposal(self, forced: Tokens, most: int) -> Tokens:
        """The first of the `forced` tokens, `most` at most, that are likely enough to be accepted."""
        share, count = self._accepted / self._proposed, 0
        while count < min(most, MOST, len(forced)) and share ** (count + 1) >= self.worth:
            count += 1
        return forced[:count]

    def compare(self, forced: Tokens, written: Tokens) -> None:
        """Count how many of the `forced` tokens are those that were `written` in one pass."""
        for proposed, token in zip(forced[:MOST], written, strict=False):
            self._accepted += proposed == token
            self._proposed += 1
