"""What stands beside a question when the model reads it.

Knows questions, examples and passages; knows no prompt, no token and no model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from stepladder.resources import Resources
from stepladder.types import Question, Shown, TrainingData


@runtime_checkable
class Context(Protocol):
    """Chooses what to show. In time: construct, then `fit` or `load`, then `show` as often as wanted."""

    @property
    def reads(self) -> frozenset[str]:
        """Which of labels, train, validation, corpus, gold, seed decide what a question is shown."""
        ...

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None: ...

    def show(self, questions: Sequence[Question], training: bool = False) -> list[Shown]:
        """One `Shown` a question, in their order. What one question is shown does not depend on the others.

        `training`: the questions are training rows, and none is shown itself, nor another row of the same text.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write into `folder` all that `load` needs, also where nothing shared is left."""
        ...

    def load(self, folder: Path, resources: Resources) -> None: ...


@dataclass(frozen=True)
class NoContext:
    """Shows nothing beside the question."""

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


def folded(text: str) -> str:
    """`text` as rows are compared: Unicode NFC, white space folded, case kept."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def sought(question: Question) -> str:
    """The words to look for: the question's text, then what was said before it."""
    return "\n".join([question.text, *(turn.content for turn in question.history)])
