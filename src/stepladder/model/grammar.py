"""What may be written next, so that the whole is JSON of a given schema.

Knows a schema and tokens; knows no model. The value is written compactly, without white space, keys in the schema's
order: the form that training teaches. When the budget runs out the value is closed the short way, so that it is always
whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from numpy.typing import NDArray

from stepladder.errors import ModelError

_COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_OUTSIDE, _INSIDE = '}],"0', '"0'  # what ends a value soonest: between values and keys, and inside a string
_LONGEST_CLOSE = 1000
_NEAR = 64  # how many tokens before the last chance the way to the end is looked at: the most that one item adds


class JsonGrammar:
    """The grammar of one schema over one tokenizer's tokens. `size` is the network's vocabulary."""

    def __init__(self, tokenizer: Any, end: int, size: int, schema: Mapping[str, Any]) -> None:
        self.end, self.size = end, size
        self.tokens = from_tokenizer(tokenizer, n_vocab=max(size, len(tokenizer)), eos_token=end)
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
        self.shortest = len(self.writer().close())

    def writer(self) -> JsonWriter:
        return JsonWriter(self, self.start.deep_copy())


class JsonWriter:
    """One value on its way: what is allowed next, and the short way to the end."""

    def __init__(self, grammar: JsonGrammar, matcher: LLMatcher) -> None:
        self._grammar, self._matcher, self._ids = grammar, matcher, list[int]()

    @property
    def complete(self) -> bool:
        return bool(self._matcher.is_accepting())

    def allowed(self) -> NDArray[np.bool_]:
        """Which tokens may come next: (vocabulary,), the end token only after a whole value."""
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        return bits[: self._grammar.size].view(np.bool_)

    def take(self, token: int) -> None:
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"token {token} does not fit the grammar: {self._matcher.get_error()}")
        self._ids.append(token)

    def too_late_for(self, token: int, left: int) -> bool:
        """Whether, after `token`, the short way to the end no longer fits into the `left` tokens, itself included."""
        if left > self._grammar.shortest + _NEAR:
            return False
        after = JsonWriter(self._grammar, self._matcher.deep_copy())
        after._ids = list(self._ids)
        after.take(token)
        return 1 + len(after.close()) > left

    def close(self) -> list[int]:
        """Write the short way to the end, end token included, and return it. Endless grammars are given up."""
        begun = len(self._ids)
        while not self.complete and len(self._ids) - begun < _LONGEST_CLOSE:
            for token in self._matcher.compute_ff_tokens() or [self._shortening()]:
                self.take(token)
        return [*self._ids[begun:], self._grammar.end]

    def _shortening(self) -> int:
        allowed = self.allowed()
        written = self._grammar.tokens.decode_str(self._ids)
        for sign in _INSIDE if _in_string(written) else _OUTSIDE:
            token = self._grammar.signs[sign]
            if allowed[token]:
                return token
        return int(allowed.argmax())


def _in_string(text: str) -> bool:
    inside = escaped = False
    for sign in text:
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == '"':
            inside = not inside
    return inside
