"""Shows training rows with their answers as demonstrations. Validation rows are never used."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from stepladder.context.context import comparable, places_of, query_text
from stepladder.context.index import VectorIndex
from stepladder.context.rows import read_examples, write_examples
from stepladder.errors import DataError, Fault, require
from stepladder.resources import Resources
from stepladder.types import Embedder, Example, Question, Shown, TrainingData

SELECTIONS = ("nearest", "fixed", "random")


@dataclass
class Demonstrations:
    """Shows `k` training rows with their answers.

    Args:
        k: Number of demonstrations. selection: `nearest`: the rows with the most similar questions (cosine similarity
            of `embedder`), the most similar last, next to the question. `fixed`: the same rows for every question,
            balanced over the labels and chosen by a hash of their content. `random`: drawn for every question from the
            seed and the question's id. embedder: Sentence embeddings for `nearest`.
    """

    k: int = 8
    selection: Literal["nearest", "fixed", "random"] = "nearest"
    embedder: Embedder | None = None
    version: ClassVar[int] = 1

    _pool: tuple[Example, ...] = field(default=(), init=False, repr=False, compare=False)
    _places: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _index: VectorIndex | None = field(default=None, init=False, repr=False, compare=False)
    _seed: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        known = f"use one of {', '.join(SELECTIONS)}"
        no_embedder = "nearest demonstrations need an embedder"
        require(
            (self.k >= 1, Fault("k", f"k is {self.k}", "use at least 1, or a method without demonstrations")),
            (self.selection in SELECTIONS, Fault("selection", f"'{self.selection}' is unknown", known)),
            (
                self.selection != "nearest" or self.embedder is not None,
                Fault("embedder", no_embedder, "name one, or use selection=fixed"),
            ),
        )

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"train", "seed"} if self.selection == "random" else {"train"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        if not data.train:
            what = "There are no training rows to demonstrate"
            raise DataError(what, "dataset.train", "name a file of training rows")
        by_label = data.task.kind == "choice"
        self._prepare(_balanced(data.train, by_label) if self.selection == "fixed" else data.train, resources, seed)

    def _prepare(self, pool: Iterable[Example], resources: Resources, seed: int) -> None:
        """Store and index the pool: in the given order for `fixed`, otherwise sorted by id."""
        self._pool = tuple(pool if self.selection == "fixed" else sorted(pool, key=lambda row: row.question.id))
        self._seed = seed
        self._places = places_of(comparable(example.question.text) for example in self._pool)
        if self.selection == "nearest" and self.embedder is not None:
            self._index = VectorIndex([query_text(row.question) for row in self._pool], self.embedder, resources)

    def show(self, questions: Sequence[Question], training: bool = False) -> list[Shown]:
        if not self._pool:
            raise RuntimeError("call fit or load before show")
        without = [self._places.get(comparable(question.text), []) if training else [] for question in questions]
        if self._index is not None:
            found = self._index.search([query_text(question) for question in questions], self.k, without)
            chosen = [places[::-1] for places in found]
        else:
            orders = (self._order(question) for question in questions)
            pairs = zip(orders, without, strict=True)
            chosen = [list(islice((place for place in order if place not in own), self.k)) for order, own in pairs]
        return [Shown(demonstrations=tuple(self._pool[place] for place in places)) for places in chosen]

    def _order(self, question: Question) -> Iterable[int]:
        if self.selection == "fixed":
            return range(len(self._pool))
        words = hashlib.sha256(json.dumps([self._seed, question.id]).encode()).digest()
        order = np.random.default_rng(list(words)).permutation(len(self._pool))
        return (int(place) for place in order)

    def save(self, folder: Path) -> None:
        write_examples(folder / "demonstrations.jsonl", self._pool)
        (folder / "seed.json").write_text(json.dumps(self._seed), encoding="utf-8")

    def load(self, folder: Path, resources: Resources) -> None:
        seed = json.loads((folder / "seed.json").read_text(encoding="utf-8"))
        self._prepare(read_examples(folder / "demonstrations.jsonl"), resources, int(seed))


def _balanced(rows: Iterable[Example], by_label: bool) -> Iterator[Example]:
    """All rows in rounds of one row per label, sorted by a hash of their content within a round."""
    seen = Counter[str]()
    rounds: dict[int, list[Example]] = defaultdict(list)
    for row in sorted(rows, key=_content):
        label = row.answers[0] if by_label else ""
        rounds[seen[label]].append(row)
        seen[label] += 1
    return (row for number in sorted(rounds) for row in rounds[number])


def _content(row: Example) -> tuple[str, str]:
    text = json.dumps([row.question.text, row.answers[0]])
    return hashlib.sha256(text.encode()).hexdigest(), row.question.id
