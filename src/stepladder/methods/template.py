"""The chat template that a fit was trained with, stored as tokens of a fixed conversation and compared on loading."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.errors import ModelError
from stepladder.models.language_model import LanguageModel
from stepladder.types import Message

TEMPLATE = "template.json"
"""The file in an artefact with the token ids of `CONVERSATION`."""

CONVERSATION = (
    Message("system", "Answer the question."),
    Message("user", "Is it?"),
    Message("assistant", "It is."),
    Message("user", "And is it now?"),
)


def conversation_tokens(model: LanguageModel) -> list[int]:
    """Token ids of a conversation and an answer; without answered turns where the template refuses them."""
    try:
        conversation = model.encode(CONVERSATION)
    except ModelError:
        conversation = model.encode(CONVERSATION[:2])
    return [*conversation, *model.encode_answer("It is.")]


def check_template(model: LanguageModel, wanted: Sequence[int], where: str) -> None:
    """Raises ModelError where a model renders conversations differently from the one that was trained."""
    if conversation_tokens(model) != list(wanted):
        raise ModelError(
            "The chat template or the tokenizer is not the one that this fit was trained with",
            where,
            "give the model that it was trained on, or fit again",
        )
