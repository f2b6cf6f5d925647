"""The protocol of contexts, which choose the demonstrations or passages shown with a question."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from stepladder.resources import Resources
from stepladder.types import Question, Shown, TrainingData


@runtime_checkable
class Context(Protocol):
    """Chooses what is shown with a question. Call `fit` or `load` first, then `show` any number of times."""

    @property
    def reads(self) -> frozenset[str]:
        """The parts of the data that the choice depends on: labels, train, validation, corpus, gold, seed."""
        ...

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        """Prepare the demonstrations or passages from the data."""
        ...

    def show(self, questions: Sequence[Question], training: bool = False) -> list[Shown]:
        """Choose what to show with each question, independently of the other questions.

        Args:
            questions: The questions.
            training: Whether they are training rows. A training row is never shown itself or a row with the same text.

        Returns:
            One `Shown` per question, in order.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs into `folder`, including data that is cached elsewhere."""
        ...

    def load(self, folder: Path, resources: Resources) -> None:
        """Restore what `save` wrote."""
        ...


@dataclass(frozen=True)
class NoContext:
    """Shows nothing with the question."""

    version: ClassVar[int] = 1

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        return

    def show(self, questions: Sequence[Question], training: bool = False) -> list[Shown]:
        return [Shown() for _ in questions]

    def save(self, folder: Path) -> None:
        return

    def load(self, folder: Path, resources: Resources) -> None:
        return


def comparable(text: str) -> str:
    """The text in the form in which rows are compared: Unicode NFC, white space folded; case matters."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def places_of(texts: Iterable[str | None]) -> dict[str, list[int]]:
    """By text, the positions at which it occurs. None is left out."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        if text is not None:
            places.setdefault(text, []).append(place)
    return places


def query_text(question: Question) -> str:
    """The text of a search query: the question, followed by its earlier turns."""
    return "\n".join([question.text, *(turn.content for turn in question.history)])
