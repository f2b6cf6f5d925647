"""The marks around thoughts of reasoning models, as chat templates have them."""

from __future__ import annotations

from collections.abc import Sequence

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


def marks_in(template: str) -> tuple[tuple[str, str], ...]:
    """The marks of which a chat template contains at least one."""
    return tuple((begin, end) for begin, end in MARKS if begin in template or end in template)


def is_open(text: str, marks: Sequence[tuple[str, str]]) -> bool:
    """Whether the last thought that begins in a text does not end in it."""
    return any(text.rfind(begin) > text.rfind(end) for begin, end in marks if begin in text)
