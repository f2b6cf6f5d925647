"""Keeps text that spells a special token as text, while the chat template's own special tokens stay special.

A tokenizer cannot tell `<|im_end|>` in a question from the `<|im_end|>` that the chat template writes. `SpecialTokens`
marks every such text in the contents with a shield character before the template is rendered. The rendered prompt is
then read by a copy of the tokenizer in which the special tokens have other names: the template's tokens are renamed in
the prompt, the shielded ones are not, so that the copy reads them as ordinary text. Ids are those of the tokenizer.

Texts that spell no special token take none of these steps.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from stepladder.errors import ModelError

_PRIVATE_USE = range(0xF0000, 0xFFFFE)
"""Code points without a meaning: the first that no content has is the shield."""


class SpecialTokens:
    """The special tokens of a fast tokenizer.

    Args:
        tokenizer: A transformers tokenizer with a `tokenizers` backend.
        turn_marks: Ids of added tokens that the chat template writes around turns; they count as special tokens even
            where the tokenizer's files do not mark them as such.
    """

    def __init__(self, tokenizer: Any, turn_marks: Iterable[int] = ()) -> None:
        added = tokenizer.added_tokens_decoder
        ids = {id_ for id_, token in added.items() if token.special} | set(tokenizer.all_special_ids)
        ids |= set(turn_marks) & set(added)
        self._tokenizer = tokenizer
        names = {id_: str(tokenizer.convert_ids_to_tokens(id_)) for id_ in sorted(ids)}
        # A special token of one character (a padding token "!") is a letter of the text as well.
        self.names: Mapping[int, str] = {id_: name for id_, name in names.items() if len(name) > 1}
        self._copies: dict[str, Any] = {}

    def are_spelled_in(self, text: str) -> bool:
        """Whether the text holds the text of a special token."""
        return self._pattern is not None and self._pattern.search(text) is not None

    def shield_for(self, texts: Iterable[str]) -> str:
        """A character that none of the texts has."""
        used = {character for text in texts for character in text if character >= "\U000f0000"}
        return next(chr(code) for code in _PRIVATE_USE if chr(code) not in used)

    def shielded(self, text: str, shield: str) -> str:
        """The text with `shield` before everything in it that spells a special token."""
        assert self._pattern is not None
        return self._pattern.sub(lambda found: shield + found[0], text)

    def encode(self, rendered: str, shield: str, add_special_tokens: bool) -> list[int]:
        """Token ids of a prompt in which text that spells special tokens is shielded, and nothing else is."""
        assert self._pattern is not None
        renamed = re.sub(
            f"{shield}?(?:{self._pattern.pattern})|{shield}",
            lambda found: found[0][1:] if found[0].startswith(shield) else shield + found[0],
            rendered,
        )
        ids: list[int] = self._copy(shield).encode(renamed, add_special_tokens=add_special_tokens).ids
        return ids

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        names = sorted(self.names.values(), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names))) if names else None

    def _copy(self, shield: str) -> Any:
        """The tokenizer's backend with its special tokens renamed, under the same ids."""
        if shield in self._copies:
            return self._copies[shield]
        from tokenizers import Tokenizer

        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            what = "A text spells a special token, and this tokenizer cannot read it as text (it has no tokenizer.json)"
            raise ModelError(
                what, "model", "save the model with its fast tokenizer, or remove the token from the texts"
            )
        new = {name: shield + name for name in self.names.values()}
        state = json.loads(backend.to_str())
        state["truncation"] = state["padding"] = None
        for token in state["added_tokens"]:
            if token["content"] in new:
                token["content"], token["normalized"] = new[token["content"]], False
        _rename(state["model"], new)
        copy = Tokenizer.from_str(json.dumps(state))
        wrong = [name for id_, name in self.names.items() if copy.token_to_id(new[name]) != id_]
        if wrong:
            what = f"A text spells a special token, and the id of '{wrong[0]}' is not the one in tokenizer.json"
            raise ModelError(what, "model", "save the model's tokenizer again, or remove the token from the texts")
        self._copies[shield] = copy
        return copy


def _rename(model: dict[str, Any], new: Mapping[str, str]) -> None:
    """Give pieces of a tokenizer's vocabulary new names, and take out the merges that would make or use them."""
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        model["vocab"] = {new.get(piece, piece): id_ for piece, id_ in vocabulary.items()}
    else:  # a unigram model has pairs of piece and score
        model["vocab"] = [[new.get(piece, piece), score] for piece, score in vocabulary]
    if model.get("unk_token") in new:
        model["unk_token"] = new[model["unk_token"]]
    if "merges" in model:
        pairs = [tuple(merge.split(" ", 1)) if isinstance(merge, str) else tuple(merge) for merge in model["merges"]]
        model["merges"] = [pair for pair in pairs if not (pair[0] in new or pair[1] in new or pair[0] + pair[1] in new)]
