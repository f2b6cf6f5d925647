"""Shows retrieved passages of a corpus with a question. The search is implemented in `index.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from stepladder.context.context import comparable, places_of, query_text
from stepladder.context.index import LANGUAGES, FusedIndex, Index, VectorIndex, WordIndex
from stepladder.context.rows import read_passages, write_passages
from stepladder.errors import ConfigError, DataError, Fault, did_you_mean
from stepladder.resources import Resources
from stepladder.types import Embedder, Example, Passage, Question, Shown, TrainingData

RETRIEVERS = ("bm25", "dense", "hybrid")


@dataclass
class Retrieval:
    """Shows the `k` best passages, best first. BM25 finds only passages that share a word with the question.

    Args:
        k: Number of passages.
        retriever: `bm25`; `dense`: cosine similarity of `embedder`; `hybrid`: both rankings, fused.
        chunk_words: Split passages into chunks of this many words; None does not split them. A chunk has the id of its
            passage.
        chunk_overlap: Number of words that a chunk shares with the one before. embedder: Sentence embeddings for
            `dense` and `hybrid`. language: Of BM25, see `WordIndex`. k1: Of BM25, see `WordIndex`. b: Of BM25, see
            `WordIndex`. without_gold: The share of training rows with known gold passages that see distractors only;
            the others see a gold passage among distractors (RAFT, Zhang et al. 2024, arXiv 2403.10131). None shows the
            retrieved passages, as for all other questions.
    """

    k: int = 5
    retriever: Literal["bm25", "dense", "hybrid"] = "bm25"
    chunk_words: int | None = None
    chunk_overlap: int = 0
    embedder: Embedder | None = None
    language: str | None = "en"
    k1: float = 1.5
    b: float = 0.75
    without_gold: float | None = None
    version: ClassVar[int] = 2

    _corpus: tuple[Passage, ...] = field(default=(), init=False, repr=False, compare=False)
    _made_from: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)
    _chunks: tuple[Passage, ...] = field(default=(), init=False, repr=False, compare=False)
    _places: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _gold: dict[str, frozenset[str]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _index: Index | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigError(faults)

    def _faults(self) -> Iterator[Fault]:
        if self.k < 1:
            yield Fault("k", f"k is {self.k}", "use at least 1, or a method without retrieval")
        if self.retriever not in RETRIEVERS:
            yield Fault("retriever", f"'{self.retriever}' is unknown", did_you_mean(self.retriever, RETRIEVERS))
        if self.retriever in ("dense", "hybrid") and self.embedder is None:
            yield Fault("embedder", f"{self.retriever} retrieval needs an embedder", "name one, or use retriever=bm25")
        if self.chunk_words is not None and self.chunk_words < 1:
            yield Fault(
                "chunk_words", f"a chunk of {self.chunk_words} words", "use at least 1, or null for whole passages"
            )
        if self.chunk_overlap < 0 or self.chunk_overlap >= (self.chunk_words or 1):
            what = f"{self.chunk_overlap} words shared by chunks of {self.chunk_words or 'no'} words"
            yield Fault("chunk_overlap", what, "use at least 0 and less than chunk_words")
        if self.language is not None and self.language not in LANGUAGES:
            hint = f"use null or one of {', '.join(LANGUAGES)}"
            yield Fault("language", f"no stemmer and stop words for '{self.language}'", hint)
        if self.k1 < 0:
            yield Fault("k1", f"k1 is {self.k1}", "use at least 0")
        if not 0 <= self.b <= 1:
            yield Fault("b", f"b is {self.b}", "use 0 to 1")
        if self.without_gold is not None and not 0 <= self.without_gold <= 1:
            yield Fault("without_gold", f"{self.without_gold} is not a share", "use 0 to 1, or null")

    @property
    def reads(self) -> frozenset[str]:
        """The corpus. Training rows only determine which passages are hidden from them during training."""
        return frozenset({"corpus"} if self.without_gold is None else {"corpus", "gold"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        if not data.corpus:
            what = "There is no passage to retrieve"
            raise DataError(what, "dataset.corpus", "name a file of passages, or training rows")
        if self.without_gold is not None:
            self._gold = {row.question.id: frozenset(row.gold) for row in data.train if row.gold}
            if data.train and not self._gold:
                what = "No training row has known gold passages, so none can be left out"
                raise DataError(what, "dataset.gold", "name their column, or set retrieval.without_gold=null")
        self._prepare(data.corpus, dict(_made_from(data.corpus, data.train)), resources)

    def _prepare(self, corpus: Iterable[Passage], made_from: Mapping[str, str], resources: Resources) -> None:
        """Split and index the corpus. `made_from`: by id of a passage that contains a training row, that row's text."""
        self._corpus, self._made_from = tuple(corpus), dict(made_from)
        self._chunks = tuple(chunk for passage in self._corpus for chunk in self._cut(passage))
        self._places = places_of(self._made_from.get(chunk.id) for chunk in self._chunks)
        indexes = tuple(self._indexes([chunk.text for chunk in self._chunks], resources))
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
            raise RuntimeError("call fit or load before show")
        without = [self._places.get(comparable(question.text), []) if training else [] for question in questions]
        if training and self._gold:
            found = self._with_distractors(questions, without)
        else:
            found = self._index.search([query_text(question) for question in questions], self.k, without)
        return [Shown(passages=tuple(self._chunks[place] for place in places)) for places in found]

    def _with_distractors(self, questions: Sequence[Question], without: Sequence[Sequence[int]]) -> list[list[int]]:
        """Indices of chunks for training rows: gold among distractors or distractors only, by a hash of the row's
        id."""
        assert self._index is not None
        assert self.without_gold is not None
        chunks = places_of(chunk.id for chunk in self._chunks)
        own = [[p for id_ in sorted(self._gold.get(q.id, ())) for p in chunks.get(id_, [])] for q in questions]
        searched = [query_text(question) for question in questions]
        bare = self._index.search(searched, self.k, [[*w, *gold] for w, gold in zip(without, own, strict=True)])
        found = self._index.search(searched, self.k, without)
        for row, question in enumerate(questions):
            gold = [place for place in own[row] if place not in without[row]]
            chance, place = _drawn(question.id)
            if question.id not in self._gold:
                continue
            if chance < self.without_gold or not gold:
                found[row] = bare[row]
            elif not set(gold) & set(found[row]):
                found[row] = bare[row][: self.k - 1]
                found[row].insert(place % (len(found[row]) + 1), gold[0])
        return found

    def save(self, folder: Path) -> None:
        write_passages(folder / "passages.jsonl", self._corpus)
        (folder / "made_from.json").write_text(json.dumps(self._made_from), encoding="utf-8")

    def load(self, folder: Path, resources: Resources) -> None:
        made_from = json.loads((folder / "made_from.json").read_text(encoding="utf-8"))
        self._prepare(read_passages(folder / "passages.jsonl"), made_from, resources)


def _drawn(id_: str) -> tuple[float, int]:
    """A number in [0, 1) and an integer from a hash of the id, independent of other rows."""
    words = hashlib.sha256(f"without_gold:{id_}".encode()).digest()
    return int.from_bytes(words[:8]) / 2**64, int.from_bytes(words[8:12])


def _made_from(corpus: Iterable[Passage], train: Iterable[Example]) -> Iterator[tuple[str, str]]:
    """For each passage with the id and the question of a training row: its id and the text of that row."""
    texts = {row.question.id: comparable(row.question.text) for row in train}
    for passage in corpus:
        text = texts.get(passage.id)
        if text and text in comparable(passage.text):
            yield passage.id, text
