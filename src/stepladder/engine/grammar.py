"""Constrained decoding: which tokens may come next, so that an answer is JSON of a given schema.

The value is compact, without white space, keys in the schema's order: the form of the training answers. Before the
budget ends the value is closed the short way, so that it is always complete.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from stepladder.errors import ModelError

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_OUTSIDE, _INSIDE = '}],"0', '"0'  # characters that end a value soonest: between values and keys, and in a string
_QUOTE, _BACKSLASH = b'"\\'
_LONGEST_CLOSE = 1000


@lru_cache(maxsize=4)
def _tokens(tokenizer: Any, known: int, size: int, end: int) -> LLTokenizer:
    return from_tokenizer(tokenizer, n_vocab=max(known, size), eos_token=end)


class JsonGrammar:
    """The grammar of one schema over one tokenizer's tokens. `size` is the network's vocabulary."""

    def __init__(self, tokenizer: Any, end: int, size: int, schema: Mapping[str, Any]) -> None:
        self.end, self.size = end, size
        self.tokens = _tokens(tokenizer, len(tokenizer), size, end)
        text = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=_COMPACT)
        self.start = LLMatcher(self.tokens, text)
        if self.start.is_error():
            raise ModelError(
                f"The JSON schema can not be enforced: {self.start.get_error().splitlines()[0]}",
                "dataset.task.schema",
                "write it with the keywords that llguidance knows, or decode freely with decoding=greedy",
            )
        signs = {sign: tokenizer(sign, add_special_tokens=False).input_ids for sign in set(_OUTSIDE + _INSIDE)}
        self.signs: dict[str, int] = {sign: ids[-1] for sign, ids in signs.items()}

    def writer(self) -> JsonWriter:
        return JsonWriter(self)


class JsonWriter:
    """One value while it is generated: which tokens are allowed next, and the short way to the end."""

    def __init__(self, grammar: JsonGrammar) -> None:
        self._now = _Value(grammar, grammar.start.deep_copy())
        self._sure = self._now.copy()  # the state in which the short way was last known to fit, or the beginning
        self._since: list[int] = []  # tokens taken from then on
        self._look_after = 1  # so many of them

    @property
    def complete(self) -> bool:
        return self._now.complete

    def bits(self) -> NDArray[np.int32]:
        """Which tokens may come next, as bits, 32 a number; the end token only after a complete value."""
        return self._now.bits()

    def allowed(self) -> NDArray[np.bool_]:
        """The same as booleans (vocabulary,)."""
        return self._now.allowed()

    def take(self, token: int) -> None:
        self._now.take(token)
        self._since.append(token)

    def give_back(self, left: int) -> int:
        """Remove as many of the last tokens as the short way needs to fit into the `left` ones. Returns how many.

        Finding that way costs as much as some tokens, so it is searched when half of the spare tokens are used."""
        if len(self._since) < self._look_after and left > 0:
            return 0
        spare = self._now.spare(left)
        if spare >= 0:
            self._sure, self._since, self._look_after = self._now.copy(), [], 1 + spare // 2
            return 0
        left, kept, late = left + len(self._since), 0, len(self._since)
        self._now = self._sure
        while late - kept > 1:
            half = (kept + late) // 2
            after = self._now.copy()
            for token in self._since[kept:half]:
                after.take(token)
            if after.spare(left - half) < 0:
                late = half
            else:
                self._now, kept = after, half
        return len(self._since) - kept

    def close(self) -> list[int]:
        """Append the short way to the end, end token included, and return it."""
        return self._now.close()


class _Value:
    """The state of a partial value."""

    def __init__(self, grammar: JsonGrammar, matcher: LLMatcher) -> None:
        self._grammar, self._matcher, self._in_string, self._escaped = grammar, matcher, False, False

    def copy(self) -> _Value:
        found = copy(self)
        found._matcher = self._matcher.deep_copy()
        return found

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    def bits(self) -> NDArray[np.int32]:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.int32)
        return bits[: -(-self._grammar.size // 32)]

    def allowed(self) -> NDArray[np.bool_]:
        return np.unpackbits(self.bits().view(np.uint8), bitorder="little")[: self._grammar.size].view(np.bool_)

    def take(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} does not fit the grammar: {self._matcher.get_error()}")
        for sign in self._grammar.tokens.decode_bytes([token]):
            if self._escaped:
                self._escaped = False
            elif sign == _BACKSLASH:
                self._escaped = self._in_string
            elif sign == _QUOTE:
                self._in_string = not self._in_string

    def spare(self, left: int) -> int:
        """How many of the `left` tokens the short way does not need; -1 where it needs more."""
        way = len(self.copy().close())
        return max(left - way, -1) if way <= _LONGEST_CLOSE else -1

    def close(self) -> list[int]:
        """The tokens of the short way; of one longer than _LONGEST_CLOSE, its beginning."""
        written: list[int] = []
        while not self.complete and len(written) < _LONGEST_CLOSE:
            for token in self._matcher.compute_ff_tokens() or [self._shortening()]:
                self.take(token)
                written.append(token)
        return [*written, self._grammar.end]

    def _shortening(self) -> int:
        for sign in _INSIDE if self._in_string else _OUTSIDE:
            token = self._grammar.signs[sign]
            if self._matcher.validate_tokens([token]):
                return token
        return int(self.allowed().argmax())
