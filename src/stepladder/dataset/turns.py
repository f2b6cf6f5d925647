"""Converts a turn of a conversation into a message.

Tool calls, images and turns without text cannot be represented and make the row a bad row. Keys that have no effect are
reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepladder.dataset.accounts import RowError
from stepladder.dataset.values import text_of
from stepladder.types import Message, Role

ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
}
NOT_TEXT: Mapping[str, str] = {
    "tool_calls": "calls a tool",
    "function_call": "calls a function",
    "tool_call_id": "is the result of a tool call",
    "tool_responses": "contains the result of a tool call",
    **dict.fromkeys(("image", "images"), "contains an image"),
    **dict.fromkeys(("video", "videos"), "contains a video"),
    **dict.fromkeys(("audio", "audios"), "contains audio"),
}
"""Keys of a turn that text cannot represent, with the reason why the row is a bad row."""
TRAINING_KEYS = ("weight", "train", "training", "loss", "loss_weight")
"""Keys of a turn that set whether, or with which weight, other trainers train on it."""


@dataclass(frozen=True)
class Turn:
    """A message, the key that excludes it from training, and its unused keys."""

    message: Message
    excluded_by: str | None = None
    unused: tuple[str, ...] = ()


def turn_of(turn: Any, where: str, role: str, content: str) -> Turn:
    """Read a turn.

    Args:
        turn: The turn as the file has it.
        where: The name of the turn in messages, such as `turn 2 of messages`.
        role: The key of the role.
        content: The key of the text.

    Raises:
        RowError: A key is missing, the role is unknown, or text cannot represent the turn.
    """
    if not isinstance(turn, Mapping) or role not in turn:
        raise RowError(f"{where} has no '{role}' and '{content}'{_other_layout(turn, role)}")
    name = ROLES.get(text_of(turn[role]).strip().casefold())
    if name is None:
        raise RowError(f"{where} has the role '{turn[role]}'; known: {', '.join(ROLES)}")
    for key, what in NOT_TEXT.items():
        if _is_given(turn.get(key)):
            raise RowError(f"{where} {what} ({key}), which cannot be represented")
    if content not in turn:
        raise RowError(f"{where} has no '{role}' and '{content}'")
    text = _text(turn[content], where, content)
    weights = [key for key in TRAINING_KEYS if turn.get(key) is not None]
    faulty = [key for key in weights if _weight(turn[key]) is None]
    if faulty:
        raise RowError(f"{where} has {faulty[0]} {text_of(turn[faulty[0]])!r}, which is not 0 or 1")
    left_out = [f"{key}: {text_of(turn[key])}" for key in weights if _weight(turn[key]) == 0]
    known = {role, content, *TRAINING_KEYS, *NOT_TEXT}
    unused = tuple(str(key) for key, value in turn.items() if key not in known and _is_given(value))
    return Turn(Message(name, text), left_out[0] if left_out else None, unused)


def _other_layout(turn: Any, role: str) -> str:
    """A hint if the turn has the keys of the other layout of conversations."""
    other = {"role": ("from", "sharegpt"), "from": ("role", "messages")}.get(role)
    if other is None or not isinstance(turn, Mapping) or other[0] not in turn:
        return ""
    return f"; it has '{other[0]}': set dataset.layout={other[1]}"


def _is_given(value: Any) -> bool:
    """Whether a key has a value. Parquet fills missing keys with nulls; empty lists and texts also count as missing."""
    return value is not None and value != "" and not (isinstance(value, Sequence | Mapping) and len(value) == 0)


def _weight(value: Any) -> int | None:
    """0 or 1; None for any other value."""
    return {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1}.get(text_of(value).strip().casefold())


def _text(value: Any, where: str, content: str) -> str:
    """The text of a turn; a list of parts must be all text."""
    if value is None or (isinstance(value, float) and value != value):
        raise RowError(f"{where} has no text ({content} is null)")
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return text_of(value)
    if len(value) == 0:
        raise RowError(f"{where} has no text ({content} is an empty list)")
    return "".join(_part(part, where) for part in value)


def _part(part: Any, where: str) -> str:
    if isinstance(part, str):
        return text_of(part)
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in ("text", "input_text", "output_text") or not isinstance(part.get("text"), str):
        found = f"of the type '{kind}'" if isinstance(kind, str) and kind != "text" else "without text"
        raise RowError(f"{where} has parts that are not text (a part {found})")
    return text_of(part["text"])
