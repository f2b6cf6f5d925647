"""Converts messages to token ids and back: the tokenizer with its chat template, and the end token of an answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from stepladder.errors import ModelError
from stepladder.models.language_model import Thoughts
from stepladder.models.special_tokens import SpecialTokens
from stepladder.models.thoughts import is_open, marks_in
from stepladder.types import Message

_TODAY = datetime(2024, 7, 26)  # templates that print today's date would give other prompts tomorrow
_FAILS = "The chat template fails: "
_MARK = "fjord gymnast"  # a text that no template contains


class Chat:
    """A tokenizer and its chat template.

    Without a template a conversation is written plainly: system texts and user texts as they are, each answer after
    'Answer:' on a line of its own, with an empty line between turns.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The prompt's token ids, up to the position where the answer begins."""
        turns = self._turns(messages)
        contents = [turn.content for turn in turns]
        if not any(self._special.are_spelled_in(content) for content in contents):
            if not self.tokenizer.chat_template:
                return self._tokens(_plain(turns), special=True)
            return self._tokens(self._rendered(turns, True))
        shield = self._special.shield_for(contents)
        turns = [Message(turn.role, self._special.shielded(turn.content, shield)) for turn in turns]
        if self.tokenizer.chat_template:
            return self._special.encode(self._rendered(turns, True), shield, add_special_tokens=False)
        return self._without_end(self._special.encode(_plain(turns), shield, add_special_tokens=True))

    def encode_answer(self, text: str) -> list[int]:
        """The answer's token ids, the end token last; a text that spells a special token stays text."""
        if not self._special.are_spelled_in(text):
            return [*self.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids, self.end]
        shield = self._special.shield_for([text])
        shielded = self._special.shielded(text, shield)
        return [*self._special.encode(shielded, shield, add_special_tokens=False), self.end]

    def refusal(self, messages: Sequence[Message]) -> str | None:
        """Why the chat template refuses a conversation, in the template's words; None where it accepts it."""
        if not self.tokenizer.chat_template:
            return None
        try:
            self._rendered(self._turns(messages), True)
        except ModelError as error:
            return error.what.removeprefix(_FAILS)
        return None

    def pieces(self, ids: Sequence[int]) -> list[tuple[str, bool]]:
        """The text of a prompt's tokens in runs, each with whether it is a special token."""
        runs: list[tuple[list[int], bool]] = []
        for id_ in ids:
            special = id_ in self._special.names
            if special or not runs or runs[-1][1]:
                runs.append(([], special))
            runs[-1][0].append(id_)
        decode = self.tokenizer.decode
        return [
            (decode(run, skip_special_tokens=False, clean_up_tokenization_spaces=False), special)
            for run, special in runs
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer's tokens, without its end token and other special tokens; marks of thoughts stay."""
        left_out = self._hidden - self._thought_ids | {self.end}  # not every tokenizer marks the end as special
        kept = [id_ for id_ in ids if id_ not in left_out]
        skipped = not self._thought_ids  # or the tokenizer would skip the marks, too
        text: str = self.tokenizer.decode(kept, skip_special_tokens=skipped, clean_up_tokenization_spaces=False)
        return text

    @cached_property
    def thoughts(self) -> Thoughts:
        """The marks of thoughts that the chat template has, and whether its prompts end inside a thought."""
        if not self.tokenizer.chat_template:
            return Thoughts()
        marks = marks_in(self._template)
        opened = bool(marks) and is_open(self._rendered((Message("user", "?"),), True), marks)
        return Thoughts(marks, opened)

    @cached_property
    def _thought_ids(self) -> frozenset[int]:
        """Special tokens that are a part of a mark of thoughts."""
        marks = [mark for pair in self.thoughts.marks for mark in pair]
        return frozenset(i for mark in marks for i in self._tokens(mark)) & self._hidden

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """Special tokens, which the text of an answer leaves out."""
        added = self.tokenizer.added_tokens_decoder
        return frozenset(self.tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}

    @cached_property
    def end(self) -> int:
        """The token that the template puts after an assistant's turn; else the tokenizer's end of sequence."""
        answered = (Message("user", "?"), Message("assistant", _MARK))
        if self.tokenizer.chat_template and self.refusal(answered) is None:
            rendered = self._rendered(answered, False)
            special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
            for token in self._tokens(rendered.rpartition(_MARK)[2]):
                if token in special:
                    return token
        if self.tokenizer.eos_token_id is None:
            raise ModelError("The tokenizer has no end token", "model", "set eos_token in its tokenizer_config.json")
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def _special(self) -> SpecialTokens:
        question = (Message("user", _MARK),)
        if not self.tokenizer.chat_template or self.refusal(question) is not None:
            return SpecialTokens(self.tokenizer, {self.end})
        return SpecialTokens(self.tokenizer, {self.end, *self._tokens(self._rendered(question, False))})

    def _turns(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages in the form that the template accepts."""
        turns = _with_one_system_text(messages)
        if self.tokenizer.chat_template and turns[0].role == "system" and not self._takes_system_text:
            return _without_system_text(turns)
        return turns

    @cached_property
    def _takes_system_text(self) -> bool:
        try:
            return _MARK in self._rendered((Message("system", _MARK), Message("user", "?")), True)
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
        """Raises ModelError where the template refuses the turns or fails, as a program may in any way."""
        try:
            rendered: str = self.tokenizer.apply_chat_template(
                [{"role": turn.role, "content": turn.content} for turn in turns],
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=ask,
                enable_thinking=False,
                date_string=_TODAY.strftime("%d %b %Y"),
            )
        except Exception as error:  # the sandbox raises its own errors, and a template any other
            what = f"{_FAILS}{error or type(error).__name__}"
            raise ModelError(what, "model", "fix chat_template in its tokenizer_config.json, or the turns") from error
        return rendered

    def _tokens(self, text: str, special: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=special).input_ids
        return self._without_end(ids) if special else ids

    def _without_end(self, ids: list[int]) -> list[int]:
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids


def _with_one_system_text(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Leading system texts become one, because most templates accept only one."""
    head = [message.content for message in messages if message.role == "system"]
    rest = tuple(message for message in messages if message.role != "system")
    return (Message("system", "\n\n".join(head)), *rest) if head else rest


def _without_system_text(turns: Sequence[Message]) -> tuple[Message, ...]:
    """The system text is put before the first user turn."""
    system, *rest = turns
    first = next(number for number, turn in enumerate(rest) if turn.role == "user")
    rest[first] = Message("user", f"{system.content}\n\n{rest[first].content}")
    return tuple(rest)


def _plain(turns: Sequence[Message]) -> str:
    blocks = [f"Answer:\n{turn.content}" if turn.role == "assistant" else turn.content for turn in turns]
    return "\n\n".join([*blocks, "Answer:\n"])


def load_chat(folder: Path) -> Chat:
    """The tokenizer of a model's directory with its chat template, without the weights.

    Raises:
        ModelError: The tokenizer's files are broken.
    """
    from transformers import AutoTokenizer

    try:
        return Chat(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))
    except Exception as error:  # broken files raise anything; the tokenizers library raises Exception itself
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"The tokenizer cannot be loaded: {said}", str(folder), "check that the model's files are whole"
        ) from error
