"""The protocol of a workflow's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from stepladder.context.context import Context
from stepladder.context.prompt import Prompt
from stepladder.resources import Resources
from stepladder.types import Decoding, EvalRequest, Prediction, Task, TrainingData

Ask: TypeAlias = Callable[[EvalRequest], list[Prediction]]
"""Answers a request by the inner steps and the model: one prediction per question, in order."""


@runtime_checkable
class Step(Protocol):
    """A step changes requests before the model answers them, or the answers, or asks more than once.

    Call `fit` or `load` first, then `answer` any number of times.
    """

    @property
    def reads(self) -> frozenset[str]:
        """The parts of the data that the step depends on: labels, train, validation, corpus, gold, seed."""
        ...

    def check(self, task: Task, decoding: Decoding, prompt: Prompt, context: Context) -> None:
        """Raises ConfigError if the step makes no sense for this task, decoding, prompt or context."""
        ...

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        """Learn what the step needs from the data."""
        ...

    def answer(self, request: EvalRequest, ask: Ask, resources: Resources) -> list[Prediction]:
        """Answer a request, with any number of calls of `ask`."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `fit` learnt into an empty folder."""
        ...

    def load(self, folder: Path, resources: Resources) -> None:
        """Restore what `save` wrote."""
        ...


class Stateless:
    """A step that learns nothing from the data."""

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        return

    def save(self, folder: Path) -> None:
        return

    def load(self, folder: Path, resources: Resources) -> None:
        return


def with_costs_of(answer: Prediction, parts: Sequence[Prediction]) -> Prediction:
    """The answer with the calls, tokens and seconds of all requests that led to it."""
    return replace(
        answer,
        prompt_tokens=sum(part.prompt_tokens for part in parts),
        new_tokens=sum(part.new_tokens for part in parts),
        seconds=sum(part.seconds for part in parts),
        calls=sum(part.calls for part in parts),
        prompt_hash=parts[0].prompt_hash,
    )
