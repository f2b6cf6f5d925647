"""Thoughts of reasoning models: the marks around them, and what an answer is without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MARKS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen 3, QwQ, GLM, SmolLM 3, Hunyuan
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("<thought>", "</thought>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A Reasoning
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),  # gpt-oss
    ("<|channel>thought", "<channel|>"),  # Gemma 4
)
"""What chat templates put before and after a thought."""


@dataclass(frozen=True)
class Answer:
    """A written text without its thoughts: `text`, whether thoughts were `removed`, whether the last one is `open`."""

    text: str
    removed: bool
    open: bool


def marks_in(template: str) -> tuple[tuple[str, str], ...]:
    """The marks that a chat template mentions, be it only the one that ends a thought."""
    return tuple((begin, end) for begin, end in MARKS if begin in template or end in template)


def is_open(text: str, marks: Sequence[tuple[str, str]]) -> bool:
    """Whether the last thought that begins in a text does not end in it."""
    return any(text.rfind(begin) > text.rfind(end) for begin, end in marks if begin in text)


@dataclass(frozen=True)
class Thoughts:
    """How a model's thoughts are marked. `opened`: its prompts end inside a thought, which the answer goes on with."""

    marks: tuple[tuple[str, str], ...] = ()
    opened: bool = False

    def removed_from(self, text: str) -> Answer:
        """What was written, without thoughts.

        Returns:
            The text after and between thoughts, without white space around it. Of a thought that does not end, its mark
            and all that follows are removed. With `opened` and no mark in the text the text is kept, since a model
            that was trained to answer at once writes its answer there.
        """
        removed = left_open = False
        for begin, end in self.marks:
            first, last = text.find(begin), text.find(end)
            if last >= 0 and (first < 0 or last < first):  # the prompt has begun this thought
                text, removed = text[last + len(end) :], True
            while (first := text.find(begin)) >= 0:
                removed = True
                last = text.find(end, first + len(begin))
                if last < 0:
                    text, left_open = text[:first], True
                    break
                text = text[:first] + text[last + len(end) :]
        return Answer(text.strip(), removed, left_open or (self.opened and not removed))
