"""Style rules for a free-form answer: patterns that it must or must not contain, and its length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stepladder.errors import ConfigError, Fault


@dataclass(frozen=True)
class Rule:
    """A style rule of answers.

    Args:
        must: A regular expression that must match somewhere; `(?i)` at its start ignores case.
        must_not: A regular expression that must not match anywhere.
        min_words: The least number of words.
        max_words: The greatest number of words.
    """

    must: str | None = None
    must_not: str | None = None
    min_words: int | None = None
    max_words: int | None = None

    def __post_init__(self) -> None:
        faults = []
        for key in ("must", "must_not"):
            pattern = getattr(self, key)
            if pattern is not None:
                try:
                    re.compile(pattern)
                except (re.error, TypeError) as error:
                    faults.append(Fault(key, f"{pattern!r} is not a regular expression: {error}", "fix it"))
        for key in ("min_words", "max_words"):
            bound = getattr(self, key)
            if bound is not None and (not isinstance(bound, int) or bound < 0):
                faults.append(Fault(key, f"{bound!r} is not a number of words", "give a whole number from 0"))
        if all(getattr(self, key) is None for key in ("must", "must_not", "min_words", "max_words")):
            faults.append(Fault("", "the rule is empty", "give must, must_not, min_words or max_words"))
        if not faults and None not in (self.min_words, self.max_words) and self.min_words > self.max_words:  # type: ignore[operator]
            faults.append(Fault("", "no number of words is within the bounds", "set min_words to at most max_words"))
        if faults:
            raise ConfigError(faults)

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
        compiled = [None if pattern is None else re.compile(pattern) for pattern in (self.must, self.must_not)]
        return compiled[0], compiled[1]

    def keeps(self, text: str) -> bool:
        must, must_not = self._patterns
        words = len(text.split())
        return (
            (must is None or must.search(text) is not None)
            and (must_not is None or must_not.search(text) is None)
            and (self.min_words is None or words >= self.min_words)
            and (self.max_words is None or words <= self.max_words)
        )


def faults_of_rules(rules: Mapping[str, Mapping[str, Any]]) -> list[Fault]:
    """The faults of rules by name, each given by the arguments of `Rule`."""
    faults = []
    for name, words in rules.items():
        try:
            Rule(**words)
        except ConfigError as error:
            faults += [Fault(f"rules.{name}.{f.key}".rstrip("."), f.what, f.to_do) for f in error.faults]
        except TypeError:
            keys = "must, must_not, min_words, max_words"
            faults.append(Fault(f"rules.{name}", f"{dict(words)} is not a rule", f"a rule has the keys {keys}"))
    return faults
