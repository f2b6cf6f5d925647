"""The one interface of everything that can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from stepladder.resources import Resources
from stepladder.types import EvalRequest, Prediction, TrainingData


@runtime_checkable
class Method(Protocol):
    """Fit once, then predict any number of requests.

    In time: construct (light: loads nothing), then either `fit` or `load`, then `predict` as often as wanted. `save`
    after `fit`. A method is fitted at most once.

    Optional attributes tell suites what makes sense: `prompted` (true where it is not given) that a prompt is read,
    `tunes` (false where it is not given) that weights were changed, so that a request with `tuned=False` differs.
    """

    @property
    def reads(self) -> frozenset[str]:
        """Which of labels, train, validation, corpus, gold, seed, objective the fit depends on: all of its key."""
        ...

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None: ...

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        """One prediction a question, in the order of the questions."""
        ...

    def save(self, folder: Path) -> None:
        """Write what `fit` made into an empty `folder`."""
        ...

    def load(self, folder: Path, resources: Resources) -> None:
        """Come back to the state that `save` wrote."""
        ...
