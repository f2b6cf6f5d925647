"""Whether training rows are whole, and are the tokens that prediction reads.

Knows prompts and rendered rows; knows no label and no loss.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.context.prompt import Prompt
from stepladder.errors import ModelError
from stepladder.gate import Finding, Gate
from stepladder.methods.rendering import Rendered
from stepladder.models.language_model import LanguageModel
from stepladder.types import Message, Shown, Task

TEMPLATE = "template.json"
"""Beside what was tuned: how its model writes `CONVERSATION`."""

CONVERSATION = (
    Message("system", "Answer the question."),
    Message("user", "Is it?"),
    Message("assistant", "It is."),
    Message("user", "And is it now?"),
)
FEW = 4
"""So many prompts are written a second time."""


def passed(
    model: LanguageModel, prompt: Prompt, task: Task, rows: Sequence[Rendered], shown: Sequence[Shown], gate: Gate
) -> list[Finding]:
    """What is to be told of training rows and of what was to be shown beside each."""
    too_long = sum(row.failure is not None for row in rows)
    less = sum(not r.failure and r.shown != beside.ids for r, beside in zip(rows, shown, strict=True))
    share = (too_long + less) / len(rows)
    told = (
        f"{too_long:,} of {len(rows):,} training rows are longer than the context window and left out; "
        f"{less:,} have fewer demonstrations or passages to fit it"
    )
    stops = gate.lost is not None and share > gate.lost
    to_do = "lower retrieval.k or demonstrations.k, or use a model with a longer context window"
    lost = Finding("lost", share, told, too_long + less > 0, stops, to_do)
    whole = [(r, beside) for r, beside in zip(rows, shown, strict=True) if r.shown == beside.ids]
    same = all(
        model.encode(prompt.messages(task, row.question, beside)) == row.ids
        for row, beside in whole[:: max(1, len(whole) // FEW)]
    )
    told = "training and prediction use the same prompt tokens"
    if not same:
        told = "training and prediction use different tokens for the same prompt"
    to_do = "remove indexes/ in the outputs directory, and make sure that the chat template is deterministic"
    return [lost, Finding("template", same, told, not same, gate.template and not same, to_do)]


def spoken(model: LanguageModel) -> list[int]:
    """How a model writes a conversation and an answer; a question and an answer where it takes no answered turns."""
    try:
        conversation = model.encode(CONVERSATION)
    except ModelError:
        conversation = model.encode(CONVERSATION[:2])
    return [*conversation, *model.encode_answer("It is.")]


def check_template(model: LanguageModel, wanted: Sequence[int], where: str) -> None:
    """Raises ModelError where a model writes conversations otherwise than the one that was trained."""
    if spoken(model) != list(wanted):
        raise ModelError(
            "The chat template or the tokenizer is not the one that this fit was trained with",
            where,
            "give the model that it was trained on, or fit again",
        )
