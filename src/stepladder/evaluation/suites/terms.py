"""Exchanges the terms of a group in a text, to ask the same question about somebody else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from stepladder.errors import ConfigError, Fault


@dataclass(frozen=True)
class Swap:
    """Each term becomes the next of its group, the last one the first. Whole words only; case is carried over."""

    groups: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        terms = [term.casefold() for group in self.groups for term in group]
        faults = [
            Fault("", f"the group {list(group)} has nothing to be exchanged for", "name at least two terms")
            for group in self.groups
            if len(group) < 2
        ]
        faults += [
            Fault("", f"'{term}' appears twice", "name each term once")
            for term in dict.fromkeys(terms)
            if terms.count(term) > 1
        ]
        faults += [Fault("", "a term is empty", "remove it") for term in terms if not term.strip()][:1]
        if faults or not terms:
            raise ConfigError(faults or Fault("", "no terms are named", "name groups of terms"))

    @cached_property
    def _next(self) -> dict[str, str]:
        return {term.casefold(): group[(i + 1) % len(group)] for group in self.groups for i, term in enumerate(group)}

    @cached_property
    def _terms(self) -> re.Pattern[str]:
        terms = sorted((term for group in self.groups for term in group), key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(term) for term in terms)})(?!\w)", re.IGNORECASE)

    def __call__(self, text: str) -> str:
        return self._terms.sub(lambda found: _cased(self._next.get(found[0].casefold(), found[0]), found[0]), text)


def swap_of(groups: Sequence[Sequence[str]]) -> Swap:
    """From lists, as a configuration has them."""
    return Swap(tuple(tuple(str(term) for term in group) for group in groups))


def _cased(term: str, like: str) -> str:
    if len(like) > 1 and like.isupper():
        return term.upper()
    return term[:1].upper() + term[1:] if like[:1].isupper() else term
