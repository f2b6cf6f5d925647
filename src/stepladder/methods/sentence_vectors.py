"""The two simplest models on sentence vectors: logistic regression, and the answer of the nearest row.

Depends on arrays and strings only. Loads scikit-learn, so it is imported only where it is used.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from threadpoolctl import threadpool_limits

Vectors = NDArray[np.float32]

STRENGTHS = tuple(float(c) for c in np.logspace(-4, 4, 10))
"""The values of C that are tried: the grid of scikit-learn's LogisticRegressionCV."""

FEWEST = 100
"""With fewer validation rows, C is chosen by cross-validation on the training rows."""

FOLDS = 5
"""Number of folds of the cross-validation, the default of LogisticRegressionCV."""

SMALLEST = 1e-9
"""The probability that the log loss takes for a label without training rows, instead of 0."""


@dataclass(frozen=True)
class VectorClassifier:
    """Multinomial logistic regression: `weight` (labels, width) and `bias` (labels,), float32.

    Its labels are those of the training rows.
    """

    labels: tuple[str, ...]
    weight: Vectors
    bias: Vectors

    @classmethod
    def fitted(cls, vectors: Vectors, answers: Sequence[str], c: float) -> VectorClassifier:
        """
        Args:
            vectors: Shape (rows, width).
            answers: The label of each row.
            c: Inverse strength of the L2 penalty.
        """
        labels = tuple(sorted(set(answers)))
        weight, bias = np.zeros((len(labels), vectors.shape[1]), np.float32), np.zeros(len(labels), np.float32)
        if len(labels) > 1:
            regression = LogisticRegression(C=c, max_iter=1000)
            # A weak penalty may end at max_iter: its log loss is measured as it is. For products this small, several
            # threads cost more than they gain, many times more where other processes use the cores.
            with warnings.catch_warnings(), threadpool_limits(1, "blas"):
                warnings.simplefilter("ignore", ConvergenceWarning)
                regression.fit(vectors.astype(np.float64), [labels.index(answer) for answer in answers])
            fitted = slice(1, None) if len(labels) == 2 else slice(None)  # of two labels only the second has weights
            weight[fitted], bias[fitted] = regression.coef_, regression.intercept_
        return cls(labels, weight, bias)

    def shares(self, vectors: Vectors) -> NDArray[np.float64]:
        """Probabilities, shape (rows, labels)."""
        return softmax(vectors.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias)

    def log_loss(self, vectors: Vectors, answers: Sequence[str]) -> float:
        """The mean negative log-probability (nats) of the rows' labels."""
        places = {label: place for place, label in enumerate(self.labels)}
        shares = self.shares(vectors)
        right = [shares[row, places[a]] if a in places else 0.0 for row, a in enumerate(answers)]
        return float(-np.log(np.maximum(right, SMALLEST)).mean())

    def save(self, folder: Path) -> None:
        save_file({"weight": self.weight, "bias": self.bias}, folder / "classifier.safetensors")
        (folder / "labels.json").write_text(json.dumps(self.labels), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> VectorClassifier:
        labels = tuple(json.loads((folder / "labels.json").read_text(encoding="utf-8")))
        arrays = _arrays(folder / "classifier.safetensors")
        weight, bias = arrays["weight"], arrays["bias"]
        if weight.ndim != 2 or len(weight) != len(labels) or bias.shape != (len(labels),):
            raise ValueError(f"classifier.safetensors does not hold weights of {len(labels)} labels")
        return cls(labels, weight, bias)


@dataclass(frozen=True)
class NearestVector:
    """The answer of the training row with the highest cosine. `vectors`: unit vectors, shape (rows, width)."""

    vectors: Vectors
    answers: tuple[str, ...]

    def answer(self, vectors: Vectors, choices: Sequence[Sequence[str]]) -> list[str | None]:
        """The nearest row's answer for each vector, among its `choices` if it has any; None if no row has one."""
        found = []
        for cosines, own in zip(vectors @ self.vectors.T, choices, strict=True):
            answers = (self.answers[place] for place in np.argsort(-cosines, kind="stable"))
            found.append(next((answer for answer in answers if not own or answer in own), None))
        return found

    def save(self, folder: Path) -> None:
        save_file({"vectors": self.vectors}, folder / "nearest.safetensors")
        (folder / "answers.json").write_text(json.dumps(self.answers), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> NearestVector:
        answers = tuple(json.loads((folder / "answers.json").read_text(encoding="utf-8")))
        vectors = _arrays(folder / "nearest.safetensors")["vectors"]
        if vectors.ndim != 2 or len(vectors) != len(answers):
            raise ValueError(f"nearest.safetensors does not hold vectors of {len(answers)} rows")
        return cls(vectors, answers)


def chosen_strength(
    vectors: Vectors, answers: Sequence[str], validation: Vectors, validation_answers: Sequence[str]
) -> float:
    """The C of `STRENGTHS` with the lowest log loss, the smallest one among equal ones.

    Measured on the validation rows, or by stratified cross-validation on the training rows if there are fewer than
    `FEWEST` validation rows. Nothing is random. With a single training row, the strongest penalty is taken.
    """
    parts = [(vectors, answers, validation, validation_answers)]
    if len(validation_answers) < FEWEST:
        most = max(answers.count(label) for label in set(answers)) if answers else 0
        parts = list(_folds(vectors, answers, min(FOLDS, most))) if most > 1 else []

    def loss(c: float) -> float:
        return sum(VectorClassifier.fitted(v, a, c).log_loss(held, b) * len(b) for v, a, held, b in parts)

    return min(STRENGTHS, key=loss)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of each row of logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _folds(vectors: Vectors, answers: Sequence[str], count: int) -> list[tuple[Vectors, list[str], Vectors, list[str]]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # labels with fewer rows than folds are in some folds only
        split = list(StratifiedKFold(count).split(vectors, answers))
    return [
        (vectors[train], [answers[i] for i in train], vectors[held], [answers[i] for i in held])
        for train, held in split
    ]


def _arrays(file: Path) -> dict[str, Any]:
    """The arrays of a file. Raises ValueError if they are not finite numbers."""
    try:
        arrays = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"{file.name} is no file of tensors: {error}") from error
    if not all(array.dtype == np.float32 and np.isfinite(array).all() for array in arrays.values()):
        raise ValueError(f"{file.name} does not hold finite numbers")
    return arrays
