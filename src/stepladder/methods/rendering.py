"""From questions and what is shown beside them to token ids that fit the model's window.

Knows prompts, messages and the window; knows no answer. What does not fit is never cut silently: the prompt's
`on_overflow` says whether to stop, to show less, or to leave the question out with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stepladder.context.prompt import Prompt
from stepladder.errors import ModelError
from stepladder.model.language_model import LanguageModel
from stepladder.records import Question, Shown, Task


@dataclass(frozen=True)
class Rendered:
    """One question as the model reads it: token ids, the ids of what is shown, and why it can not be asked."""

    question: Question
    ids: list[int]
    shown: tuple[str, ...]
    failure: str | None = None

    @property
    def id(self) -> str:
        return self.question.id


def render(
    model: LanguageModel,
    prompt: Prompt,
    task: Task,
    questions: Sequence[Question],
    shown: Sequence[Shown],
    room: Sequence[int],
) -> list[Rendered]:
    """Token ids of every question; `room[i]` tokens are left free for its answer.

    Raises ModelError when prompts are longer than the window and `prompt.on_overflow` is `stop`, or when one does not
    fit even with nothing shown under `drop_context`.
    """
    rendered = []
    for question, beside, answer in zip(questions, shown, room, strict=True):
        ids = model.encode(prompt.messages(task, question, beside))
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


def _less(shown: Shown) -> Shown:
    """Without the passage that matters least; with no passage left, without the first demonstration."""
    if shown.passages:
        return replace(shown, passages=shown.passages[:-1])
    return replace(shown, demonstrations=shown.demonstrations[1:])
