"""Shows passages of a corpus beside the question.

Knows passages and an embedder; knows no prompt and no model. Searching itself is the business of `index.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from stepladder.context.context import folded, sought
from stepladder.context.index import LANGUAGES, FusedIndex, Index, VectorIndex, WordIndex
from stepladder.context.rows import read_passages, write_passages
from stepladder.errors import ConfigError, DataError, Fault, did_you_mean
from stepladder.records import Embedder, Example, Passage, Question, Shown, TrainingData
from stepladder.resources import Resources

RETRIEVERS = ("bm25", "dense", "hybrid")


@dataclass
class Retrieval:
    """The `k` passages nearest to the question, best first; fewer where `bm25` finds no more that share a word with it.

    retriever: bm25 by shared words; dense by the cosine of `embedder`; hybrid fuses both rankings.
    chunk_words: cut passages into pieces of so many words, `chunk_overlap` of them shared with the piece before; None
    leaves them whole. A piece bears the id of its passage.
    language, k1, b: of bm25, see `WordIndex`.
    """

    k: int = 5
    retriever: Literal["bm25", "dense", "hybrid"] = "bm25"
    chunk_words: int | None = None
    chunk_overlap: int = 0
    embedder: Embedder | None = None
    language: str | None = "en"
    k1: float = 1.5
    b: float = 0.75
    version: ClassVar[int] = 1

    _corpus: tuple[Passage, ...] = field(default=(), init=False, repr=False, compare=False)
    _made_from: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _pieces: tuple[Passage, ...] = field(default=(), init=False, repr=False, compare=False)
    _places: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _index: Index | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigError(faults)

    def _faults(self) -> Iterator[Fault]:
        if self.k < 1:
            yield Fault("k", f"k is {self.k}", "show at least one, or use a method that shows nothing")
        if self.retriever not in RETRIEVERS:
            yield Fault("retriever", f"'{self.retriever}' is unknown", did_you_mean(self.retriever, RETRIEVERS))
        if self.retriever in ("dense", "hybrid") and self.embedder is None:
            yield Fault("embedder", f"{self.retriever} retrieval needs an embedder", "name one, or use retriever=bm25")
        if self.chunk_words is not None and self.chunk_words < 1:
            yield Fault("chunk_words", f"a piece of {self.chunk_words} words", "use at least 1, or null for no pieces")
        if self.chunk_overlap < 0 or self.chunk_overlap >= (self.chunk_words or 1):
            what = f"{self.chunk_overlap} words shared by pieces of {self.chunk_words or 'no'} words"
            yield Fault("chunk_overlap", what, "use at least 0 and less than chunk_words")
        if self.language is not None and self.language not in LANGUAGES:
            hint = f"use null or one of {', '.join(LANGUAGES)}"
            yield Fault("language", f"no stemmer and stop words for '{self.language}'", hint)
        if self.k1 < 0:
            yield Fault("k1", f"k1 is {self.k1}", "use at least 0")
        if not 0 <= self.b <= 1:
            yield Fault("b", f"b is {self.b}", "use 0 to 1")

    @property
    def reads(self) -> frozenset[str]:
        """The corpus. (Training rows only say which passages to hide from them while they are trained on.)"""
        return frozenset({"corpus"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        if not data.corpus:
            what = "There is no passage to retrieve"
            raise DataError(what, "dataset.corpus", "name a file of passages, or training rows to make them of")
        self._stand(data.corpus, dict(_made_from(data.corpus, data.train)), resources)

    def _stand(self, corpus: Iterable[Passage], made_from: Mapping[str, str], resources: Resources) -> None:
        """Be ready to show. `made_from`: of a passage that tells a training row, that row's folded text."""
        self._corpus, self._made_from = tuple(corpus), dict(made_from)
        self._pieces = tuple(piece for passage in self._corpus for piece in self._cut(passage))
        places = defaultdict(list)
        for place, piece in enumerate(self._pieces):
            if piece.id in self._made_from:
                places[self._made_from[piece.id]].append(place)
        self._places = dict(places)
        indexes = tuple(self._indexes([piece.text for piece in self._pieces], resources))
        self._index = indexes[0] if len(indexes) == 1 else FusedIndex(*indexes)

    def _indexes(self, texts: Sequence[str], resources: Resources) -> Iterator[Index]:
        if self.retriever in ("bm25", "hybrid"):
            yield WordIndex(texts, self.language, self.k1, self.b, resources)
        if self.retriever in ("dense", "hybrid") and self.embedder is not None:
            yield VectorIndex(texts, self.embedder, resources)

    def _cut(self, passage: Passage) -> Iterator[Passage]:
        words = passage.text.split()
        if self.chunk_words is None or len(words) <= self.chunk_words:
            yield passage
            return
        step = self.chunk_words - self.chunk_overlap
        for start in range(0, len(words) - self.chunk_overlap, step):
            yield Passage(passage.id, " ".join(words[start : start + self.chunk_words]))

    def show(self, questions: Sequence[Question], training: bool = False) -> list[Shown]:
        if self._index is None:
            raise RuntimeError("show comes after fit or load")
        without = [self._places.get(folded(question.text), []) if training else [] for question in questions]
        found = self._index.search([sought(question) for question in questions], self.k, without)
        return [Shown(passages=tuple(self._pieces[place] for place in places)) for places in found]

    def save(self, folder: Path) -> None:
        write_passages(folder / "passages.jsonl", self._corpus)
        (folder / "made_from.json").write_text(json.dumps(self._made_from), encoding="utf-8")

    def load(self, folder: Path, resources: Resources) -> None:
        made_from = json.loads((folder / "made_from.json").read_text(encoding="utf-8"))
        self._stand(read_passages(folder / "passages.jsonl"), made_from, resources)


def _made_from(corpus: Iterable[Passage], train: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """Of every passage that tells a training row (its id, and its question in the text): that row's folded text."""
    texts = {row.question.id: folded(row.question.text) for row in train}
    for passage in corpus:
        text = texts.get(passage.id)
        if text and text in folded(passage.text):
            yield passage.id, text
