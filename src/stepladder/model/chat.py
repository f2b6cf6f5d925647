"""Between messages and token ids: the tokenizer with its chat template, and the token that ends an answer.

Knows no network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from stepladder.errors import ModelError
from stepladder.records import Message

_TODAY = datetime(2024, 7, 26)  # templates that print today's date would give other prompts tomorrow
_MARK = "fjord gymnast"  # a text that no template prints of its own accord


class Chat:
    """A tokenizer and its chat template.

    Without a template a conversation is written plainly: system texts and user texts as they are, each answer after
    'Answer:' on a line of its own, with an empty line between turns.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, up to where the answer begins."""
        turns = _with_one_system_text(messages)
        if not self.tokenizer.chat_template:
            return self._tokens(_plain(turns), special=True)
        if turns[0].role == "system" and not self._takes_system_text:
            turns = _without_system_text(turns)
        return self._tokens(self._rendered(turns, True))

    def encode_answer(self, text: str) -> list[int]:
        """The answer's token ids, the end token last; a text that spells a special token stays text."""
        return [*self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids, self.end]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, end token and other special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    @cached_property
    def end(self) -> int:
        """The token that the template puts after an assistant's turn; else the tokenizer's end of sequence."""
        if self.tokenizer.chat_template:
            rendered = self._rendered((Message("user", "?"), Message("assistant", _MARK)), False)
            special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
            for token in self._tokens(rendered.rpartition(_MARK)[2]):
                if token in special:
                    return token
        if self.tokenizer.eos_token_id is None:
            raise ModelError("The tokenizer has no end token", "model", "set eos_token in its tokenizer_config.json")
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def _takes_system_text(self) -> bool:
        try:
            return _MARK in self._render((Message("system", _MARK), Message("user", "?")), True)
        except ModelError:
            return False

    @cached_property
    def _template(self) -> str:
        """The tokenizer's template, with one fixed day in place of today."""
        own: str = self.tokenizer.get_chat_template()
        return re.sub(
            r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""",
            lambda call: repr(_TODAY.strftime(call[2])),
            own,
            flags=re.DOTALL,
        )

    def _rendered(self, turns: Sequence[Message], ask: bool) -> str:
        """Raises ModelError where the template fails, as a program of strangers may in any way, or asks for what its
        sandbox does not give."""
        try:
            return self._render(turns, ask)
        except Exception as error:
            what = f"The chat template fails: {type(error).__name__}: {error}"
            raise ModelError(what, "model", "mend chat_template in its tokenizer_config.json") from error

    def _render(self, turns: Sequence[Message], ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            rendered: str = self.tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in turns],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=ask,
                enable_thinking=False,
                date_string=_TODAY.strftime("%d %b %Y"),
            )
        except (TemplateError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
            what = f"The model's chat template can not be filled in: {error}"
            raise ModelError(what, "the tokenizer's chat_template", "mend it, or take it out") from error
        return rendered

    def _tokens(self, text: str, special: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=special).input_ids
        if special and ids and ids[-1] == self.tokenizer.eos_token_id:
            ids = ids[:-1]
        return ids


def _with_one_system_text(messages: Sequence[Message]) -> tuple[Message, ...]:
    """System texts at the head become one, because most templates take only one."""
    head = [message.content for message in messages if message.role == "system"]
    rest = tuple(message for message in messages if message.role != "system")
    return (Message("system", "\n\n".join(head)), *rest) if head else rest


def _without_system_text(turns: Sequence[Message]) -> tuple[Message, ...]:
    system, first, *rest = turns
    return (Message(first.role, f"{system.content}\n\n{first.content}"), *rest)


def _plain(turns: Sequence[Message]) -> str:
    blocks = [f"Answer:\n{turn.content}" if turn.role == "assistant" else turn.content for turn in turns]
    return "\n\n".join([*blocks, "Answer:\n"])
