"""Texts as TF-IDF weights, and the two simplest models on them.

Knows texts and their answers as plain strings; knows no record, no request and no configuration. Loads scikit-learn, so
it is imported only where it is used. Saved as arrays and JSON, never as a pickle.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Weights:
    """TF-IDF weights (sublinear, rows of length one) of runs of words, and of runs of characters within a word."""

    words: int
    characters: int
    vocabulary: Sequence[str]
    idf: Array

    @classmethod
    def fitted(cls, texts: Sequence[str], words: int, characters: int) -> Weights:
        """Raises ValueError when the texts hold nothing to count."""
        vectorizer = _vectorizer(words, characters).fit(texts)
        return cls(words, characters, tuple(vectorizer.get_feature_names_out()), vectorizer.idf_)

    def of(self, texts: Sequence[str]) -> sparse.csr_matrix:
        """Shape (len(texts), len(vocabulary)), float32."""
        vectorizer = _vectorizer(self.words, self.characters, self.vocabulary)
        vectorizer.idf_ = self.idf
        return vectorizer.transform(texts)

    def save(self, folder: Path) -> None:
        named = {"words": self.words, "characters": self.characters, "vocabulary": self.vocabulary}
        (folder / "weights.json").write_text(json.dumps(named), encoding="utf-8")
        np.save(folder / "idf.npy", self.idf, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> Weights:
        named = json.loads((folder / "weights.json").read_text(encoding="utf-8"))
        idf = np.load(folder / "idf.npy", allow_pickle=False)
        _expect("idf.npy", idf, len(named["vocabulary"]))
        return cls(**named, idf=idf)


@dataclass(frozen=True)
class Classifier:
    """Logistic regression over the labels that training has seen: `slopes` (labels, runs) and `offsets` (labels,)."""

    weights: Weights
    labels: Sequence[str]
    slopes: Array
    offsets: Array

    @classmethod
    def fitted(cls, weights: Weights, texts: Sequence[str], answers: Sequence[str], c: float) -> Classifier:
        labels = tuple(sorted(set(answers)))
        slopes = np.zeros((len(labels), len(weights.vocabulary)), np.float32)
        offsets = np.zeros(len(labels), np.float32)
        if len(labels) > 1:
            regression = LogisticRegression(C=c, max_iter=1000)
            regression.fit(weights.of(texts), [labels.index(answer) for answer in answers])
            learnt = slice(1, None) if len(labels) == 2 else slice(None)  # of two labels only the second has slopes
            slopes[learnt], offsets[learnt] = regression.coef_, regression.intercept_
        return cls(weights, labels, slopes, offsets)

    @property
    def parameters(self) -> int:
        rows = 1 if len(self.labels) == 2 else len(self.labels)
        return rows * (len(self.weights.vocabulary) + 1)

    def probabilities(self, texts: Sequence[str]) -> list[dict[str, float]]:
        logits = self.weights.of(texts) @ self.slopes.T.astype(np.float64) + self.offsets
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        return [dict(zip(self.labels, row, strict=True)) for row in shares.tolist()]

    def save(self, folder: Path) -> None:
        self.weights.save(folder)
        np.savez(folder / "classifier.npz", slopes=self.slopes, offsets=self.offsets)
        (folder / "labels.json").write_text(json.dumps(self.labels), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
        with np.load(folder / "classifier.npz", allow_pickle=False) as arrays:
            weights, slopes, offsets = Weights.load(folder), arrays["slopes"], arrays["offsets"]
        _expect("slopes", slopes, len(labels), len(weights.vocabulary))
        _expect("offsets", offsets, len(labels))
        return cls(weights, tuple(labels), slopes, offsets)


@dataclass(frozen=True)
class Nearest:
    """The answer of the training text with the highest cosine. `rows`: the training texts' weights."""

    weights: Weights
    rows: sparse.csr_matrix
    answers: Sequence[str]

    @classmethod
    def fitted(cls, weights: Weights, texts: Sequence[str], answers: Sequence[str]) -> Nearest:
        return cls(weights, weights.of(texts), tuple(answers))

    @property
    def parameters(self) -> int:
        return 0

    def answer(self, texts: Sequence[str], choices: Sequence[Sequence[str]]) -> list[str | None]:
        """Of each text the nearest answer, among its `choices` where it has some; None where nothing is alike."""
        alike = sparse.csr_matrix(self.weights.of(texts) @ self.rows.T)
        found = []
        for row, own in enumerate(choices):
            part = slice(alike.indptr[row], alike.indptr[row + 1])
            places = alike.indices[part]
            ranked = places[np.lexsort((places, -alike.data[part]))]
            answers = (self.answers[place] for place in ranked)
            found.append(next((answer for answer in answers if not own or answer in own), None))
        return found

    def save(self, folder: Path) -> None:
        self.weights.save(folder)
        sparse.save_npz(folder / "rows.npz", self.rows)
        (folder / "answers.json").write_text(json.dumps(self.answers), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Nearest:
        answers = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
        weights, rows = Weights.load(folder), sparse.csr_matrix(sparse.load_npz(folder / "rows.npz"))
        _expect("rows.npz", rows, len(answers), len(weights.vocabulary))
        return cls(weights, rows, tuple(answers))


def _expect(name: str, array: Any, *shape: int) -> None:
    """Raises ValueError where an array that was read, or a sparse one, is not what was saved."""
    values = array.data if sparse.issparse(array) else array
    if array.shape != shape or values.dtype.kind != "f" or not np.isfinite(values).all():
        raise ValueError(f"{name} does not hold {' x '.join(map(str, shape))} numbers")


def _vectorizer(words: int, characters: int, vocabulary: Sequence[str] | None = None) -> TfidfVectorizer:
    of_words = TfidfVectorizer(ngram_range=(1, words), token_pattern=r"\b\w+\b").build_analyzer()
    of_characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, characters)).build_analyzer()

    def runs(text: str) -> list[str]:
        text = unicodedata.normalize("NFC", text)
        return ["w" + run for run in of_words(text)] + ["c" + run for run in of_characters(text)]

    return TfidfVectorizer(analyzer=runs, vocabulary=vocabulary, sublinear_tf=True, dtype=np.float32)
