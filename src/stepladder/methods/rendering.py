"""From questions and what is shown beside them to token ids that fit the model's window.

Knows prompts, messages and the window; knows no answer. What does not fit is never cut silently: the prompt's
`on_overflow` says whether to stop, to show less, or to leave the question out with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepladder.context.prompt import Prompt
from stepladder.errors import ModelError
from stepladder.io.files import cached
from stepladder.models.language_model import ChatFormat, LanguageModel
from stepladder.types import Message, Question, Shown, Task


@dataclass(frozen=True)
class Rendered:
    """One question as the model reads it: token ids, the ids of what is shown, and why it can not be asked. For a model
    that renders its own prompts: `messages`, and no token ids."""

    question: Question
    ids: list[int]
    shown: tuple[str, ...]
    failure: str | None = None
    messages: tuple[Message, ...] = ()

    @property
    def prompt(self) -> Sequence[Any]:
        """What the model is given."""
        return self.messages or self.ids

    @property
    def id(self) -> str:
        return self.question.id

    @property
    def hash(self) -> str:
        """A digest of the token ids: prompts that the model reads alike have the same."""
        if self.messages:
            return hashlib.sha256(json.dumps([[m.role, m.content] for m in self.messages]).encode()).hexdigest()[:32]
        return hashlib.sha256(np.asarray(self.ids, "<i8").tobytes()).hexdigest()[:32]


@dataclass(frozen=True)
class Encoder:
    """Token ids of many conversations at once, kept in `shared` by their content and that of the model: `made_by`."""

    model: LanguageModel
    made_by: str
    shared: Path | None = None

    def __call__(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        if not conversations:
            return []
        digest = hashlib.sha256(f"2 {self.made_by}\n".encode())  # 2: raised when other ids come of the same messages
        for conversation in conversations:
            digest.update(json.dumps([[m.role, m.content] for m in conversation]).encode() + b"\n")
        ids, ends = cached(
            self.shared, f"tokens-{digest.hexdigest()[:32]}", lambda: self._encoded(conversations), _save, _load
        )
        return [part.tolist() for part in np.split(ids, ends[:-1])]

    def _encoded(self, conversations: Sequence[Sequence[Message]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        rows = [self.model.encode(conversation) for conversation in conversations]
        ids = np.fromiter((token for row in rows for token in row), np.int32)
        return ids, np.cumsum([len(row) for row in rows])


def _save(made: tuple[NDArray[np.int32], NDArray[np.int64]], folder: Path) -> None:
    np.save(folder / "ids.npy", made[0], allow_pickle=False)
    np.save(folder / "ends.npy", made[1], allow_pickle=False)


def _load(folder: Path) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    return np.load(folder / "ids.npy", allow_pickle=False), np.load(folder / "ends.npy", allow_pickle=False)


@dataclass(frozen=True)
class PromptView:
    """A prompt for people: its pieces in order (text, whether it is a special token), or the `failure` to render it."""

    id: str
    tokens: int
    pieces: tuple[tuple[str, bool], ...]
    failure: str | None = None

    @classmethod
    def of(cls, rendered: Rendered, chat: ChatFormat | None) -> PromptView:
        """Raises ModelError where the model cannot show its tokens."""
        if rendered.messages:
            turns = tuple((text, text == m.role) for m in rendered.messages for text in (m.role, m.content))
            return cls(rendered.id, 0, turns, rendered.failure)
        if chat is None:
            raise ModelError(
                "This model does not show its prompts", "model", "give its class a method chat(), or use another model"
            )
        return cls(rendered.id, len(rendered.ids), tuple(chat.pieces(rendered.ids)), rendered.failure)

    @property
    def text(self) -> str:
        """The prompt with every special token in double square brackets, which text keeps apart."""
        return "".join(f"⟦{text}⟧" if special else text for text, special in self.pieces)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        pieces = [{"text": text, "special": special} for text, special in self.pieces]
        return {"id": self.id, "tokens": self.tokens, "text": self.text, "pieces": pieces, "failure": self.failure}


def refused(
    chat: Callable[[], ChatFormat], made_by: str, conversations: Sequence[Sequence[Message]], shared: Path | None
) -> dict[int, str]:
    """The conversations that a chat template refuses, by their place, with its reason.

    Args:
        chat: Loads the tokenizer; called only if the answer is not in `shared`.
        made_by: What identifies the model's content.
        conversations: The messages of each prompt.
        shared: The directory where answers are stored; None stores nothing.
    """
    digest = hashlib.sha256(f"1 {made_by}\n".encode())
    for conversation in conversations:
        digest.update(json.dumps([[m.role, m.content] for m in conversation]).encode() + b"\n")

    def found() -> dict[int, str]:
        own = chat()
        reasons = ((place, own.refusal(conversation)) for place, conversation in enumerate(conversations))
        return {place: reason for place, reason in reasons if reason is not None}

    def save(reasons: dict[int, str], folder: Path) -> None:
        (folder / "refused.json").write_text(json.dumps(list(reasons.items())), encoding="utf-8")

    def load(folder: Path) -> dict[int, str]:
        return dict(json.loads((folder / "refused.json").read_text(encoding="utf-8")))

    return cached(shared, f"refused-{digest.hexdigest()[:32]}", found, save, load)


def render(
    encode: Encoder,
    prompt: Prompt,
    task: Task,
    questions: Sequence[Question],
    shown: Sequence[Shown],
    reserved: Sequence[int],
) -> list[Rendered]:
    """Token ids of every question; `reserved[i]` tokens are left free for its answer.

    Raises ModelError when prompts are longer than the window and `prompt.on_overflow` is `stop`, or when one does not
    fit even with nothing shown under `drop_context`.
    """
    rendered = []
    model = encode.model
    encoded = encode(
        [prompt.messages(task, question, beside) for question, beside in zip(questions, shown, strict=True)]
    )
    for question, beside, answer, ids in zip(questions, shown, reserved, encoded, strict=True):
        if prompt.on_overflow == "drop_context":
            while len(ids) + answer > model.window and beside.ids:
                beside = _less(beside)
                ids = model.encode(prompt.messages(task, question, beside))
        too_long = len(ids) + answer > model.window
        failure = (
            f"{len(ids)} prompt and {answer} answer tokens exceed the window of {model.window}" if too_long else None
        )
        rendered.append(Rendered(question, ids, beside.ids, failure))
    failed = [r for r in rendered if r.failure]
    if failed and prompt.on_overflow != "skip":
        raise ModelError(
            f"{len(failed)} of {len(rendered)} prompts are longer than the model's window: {failed[0].failure}",
            f"question {failed[0].id}" + (f" and {len(failed) - 1} more" if len(failed) > 1 else ""),
            "say prompt.on_overflow=drop_context (show less) or prompt.on_overflow=skip (leave them out, counted as "
            "wrong), show less (retrieval.k, demonstrations.k), or lower decoding.max_new_tokens",
        )
    return rendered


def render_conversations(
    prompt: Prompt, task: Task, questions: Sequence[Question], shown: Sequence[Shown]
) -> list[Rendered]:
    """The messages of every question, for a model that renders its own prompts and refuses those that are too long."""
    return [
        Rendered(question, [], beside.ids, messages=tuple(prompt.messages(task, question, beside)))
        for question, beside in zip(questions, shown, strict=True)
    ]


def _less(shown: Shown) -> Shown:
    """Without the passage that matters least; with no passage left, without the first demonstration."""
    if shown.passages:
        return replace(shown, passages=shown.passages[:-1])
    return replace(shown, demonstrations=shown.demonstrations[1:])
