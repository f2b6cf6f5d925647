"""The Tuning protocol: what a method asks of whatever changes weights, on token ids.

Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from stepladder.models.language_model import LanguageModel
from stepladder.resources import Resources


@dataclass(frozen=True)
class TrainingRow:
    """One rendered example: the prompt's token ids as prediction will see them, the answer's with its end token."""

    id: str
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]

    @property
    def length(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


@runtime_checkable
class Tuning(Protocol):
    """Either `tune` or `load` once, then `save` as often as wanted. The given model stays as it is."""

    @property
    def reads(self) -> frozenset[str]:
        """Which of train, validation, seed, objective the result depends on."""
        ...

    def tune(
        self,
        model: LanguageModel,
        rows: Sequence[TrainingRow],
        validation: Sequence[TrainingRow],
        resources: Resources,
        seed: int = 0,
    ) -> LanguageModel:
        """The model, trained on `rows`."""
        ...

    def save(self, folder: Path, model: LanguageModel) -> None:
        """Write what `tune` gave into `folder`."""
        ...

    def load(self, folder: Path, model: LanguageModel, resources: Resources) -> LanguageModel:
        """What `save` wrote, on the untuned `model`."""
        ...


@dataclass(frozen=True)
class Frozen:
    """Learns nothing: the model stays as it came."""

    version: ClassVar[int] = 1

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def tune(
        self,
        model: LanguageModel,
        rows: Sequence[TrainingRow],
        validation: Sequence[TrainingRow],
        resources: Resources,
        seed: int = 0,
    ) -> LanguageModel:
        return model

    def save(self, folder: Path, model: LanguageModel) -> None:
        return

    def load(self, folder: Path, model: LanguageModel, resources: Resources) -> LanguageModel:
        return model
