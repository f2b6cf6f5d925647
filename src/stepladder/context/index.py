"""Search indexes over texts: BM25, dense vectors, and their fusion.

An index is built once for its texts and settings and cached under a hash of both. Results are positions of texts, best
first; ties are sorted by position. The tokenizer is `_Words` with `stepladder.words`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stepladder.io.files import cached
from stepladder.resources import Resources
from stepladder.types import Embedder, Plain
from stepladder.words import lowered, search_terms

Positions = Collection[int]

TOKENIZER = 2
"""Version of the tokenizer. Increase it when texts get other terms, so that cached indexes are built again."""
BLOCK = 2048  # texts that are embedded or compared at a time

# By language: the Snowball stemmer and the stop words of bm25s.
LANGUAGES = {
    "da": ("danish", "STOPWORDS_DANISH"),
    "de": ("german", "STOPWORDS_GERMAN"),
    "en": ("english", "STOPWORDS_EN"),
    "es": ("spanish", "STOPWORDS_SPANISH"),
    "fr": ("french", "STOPWORDS_FRENCH"),
    "it": ("italian", "STOPWORDS_ITALIAN"),
    "nl": ("dutch", "STOPWORDS_DUTCH"),
    "no": ("norwegian", "STOPWORDS_NORWEGIAN"),
    "pt": ("portuguese", "STOPWORDS_PORTUGUESE"),
    "ru": ("russian", "STOPWORDS_RUSSIAN"),
    "sv": ("swedish", "STOPWORDS_SWEDISH"),
    "tr": ("turkish", "STOPWORDS_TURKISH"),
}


class Index(Protocol):
    """Texts that can be searched."""

    def search(self, queries: Sequence[str], k: int, without: Sequence[Positions]) -> list[list[int]]:
        """Search the texts.

        Args:
            queries: The queries.
            k: The largest number of results per query.
            without: For each query, the positions that are excluded.

        Returns:
            For each query, the positions of the best texts, best first.
        """
        ...


class WordIndex:
    """BM25 over stemmed words, in Lucene's variant (Robertson and Zaragoza 2009).

    A text without a common word is never found. Scripts without spaces are indexed by character bigrams
    (`stepladder.words`).

    Args:
        texts: The texts.
        language: Language of the stemmer and the stop words; None uses neither.
        k1: Saturation of the term frequency.
        b: Strength of the length normalisation, 0 to 1.
        resources: Progress and the directory of cached indexes.
    """

    def __init__(self, texts: Sequence[str], language: str | None, k1: float, b: float, resources: Resources) -> None:
        self._words = _Words(language)
        settings = {"language": language, "k1": k1, "b": b, "bm25s": _bm25s().__version__, "tokenizer": TOKENIZER}
        self._scores = cached(
            resources.shared,
            f"bm25-{_digest(texts, settings)}",
            lambda: self._make(texts, k1, b, resources),
            lambda made, folder: made.save(folder, show_progress=False),
            lambda folder: _bm25s().BM25.load(folder, mmap=True, show_progress=False),
        )

    def _make(self, texts: Sequence[str], k1: float, b: float, resources: Resources) -> Any:
        vocabulary = {"": 0}  # never empty, even if the texts have no words
        rows = []
        for text in resources.progress.track(texts, len(texts), "indexing words"):
            rows.append([vocabulary.setdefault(word, len(vocabulary)) for word in self._words(text)] or [0])
        made = _bm25s().BM25(k1=k1, b=b)
        made.index((rows, vocabulary), show_progress=False)
        return made

    def search(self, queries: Sequence[str], k: int, without: Sequence[Positions]) -> list[list[int]]:
        known = self._scores.vocab_dict
        found = []
        for query, left_out in zip(queries, without, strict=True):
            ids = [known[word] for word in self._words(query, query=True) if word in known]
            scores = self._scores.get_scores_from_ids(ids)
            scores[list(left_out)] = 0.0
            found.append([place for place in _best(scores, k) if scores[place] > 0])
        return found


class VectorIndex:
    """Exact nearest neighbours by cosine similarity of unit vectors."""

    def __init__(self, texts: Sequence[str], embedder: Embedder, resources: Resources) -> None:
        self._embedder = embedder
        self._row = {text: row for row, text in enumerate(texts)}
        self._vectors = cached(
            resources.shared,
            f"vectors-{_digest(texts, embedder.fingerprint())}",
            lambda: self._embed(texts, resources),
            lambda made, folder: np.save(folder / "vectors.npy", made, allow_pickle=False),
            lambda folder: np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False),
        )

    def _embed(self, texts: Sequence[str], resources: Resources) -> NDArray[np.float32]:
        blocks = resources.progress.track(list(_blocks(len(texts))), -(-len(texts) // BLOCK), "embedding")
        return np.concatenate([self._embedder.embed(texts[block]) for block in blocks])

    def search(self, queries: Sequence[str], k: int, without: Sequence[Positions]) -> list[list[int]]:
        vectors = self._of(queries)
        found = []
        for block in _blocks(len(queries), max(1, 20_000_000 // len(self._vectors))):  # at most 80 MB of scores
            cosines = np.round(vectors[block] @ self._vectors.T, 5)  # further digits depend on the batch
            for scores, places in zip(cosines, without[block], strict=True):
                scores[list(places)] = -np.inf
                found.append([place for place in _best(scores, k) if np.isfinite(scores[place])])
        return found

    def _of(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the queries, (queries, width); vectors of indexed texts are reused."""
        rows = np.array([self._row.get(query, -1) for query in queries], dtype=np.intp)
        vectors = np.array(self._vectors[rows], np.float32)
        new = np.flatnonzero(rows < 0).tolist()
        if new:
            vectors[new] = self._embedder.embed([queries[place] for place in new])
        return vectors


class FusedIndex:
    """Reciprocal rank fusion of several indexes (Cormack, Clarke and Büttcher 2009), with their constant 60."""

    constant = 60
    depth = 100

    def __init__(self, *indexes: Index) -> None:
        self._indexes = indexes

    def search(self, queries: Sequence[str], k: int, without: Sequence[Positions]) -> list[list[int]]:
        rankings = zip(*(index.search(queries, max(k, self.depth), without) for index in self._indexes), strict=True)
        return [self._fused(ranking)[:k] for ranking in rankings]

    def _fused(self, rankings: Sequence[Sequence[int]]) -> list[int]:
        score: dict[int, float] = {}
        for ranking in rankings:
            for rank, place in enumerate(ranking, start=1):
                score[place] = score.get(place, 0.0) + 1 / (self.constant + rank)
        return sorted(score, key=lambda place: (-score[place], place))


class _Words:
    """The tokenizer of `WordIndex`: lower-cased terms, stemmed, without stop words."""

    def __init__(self, language: str | None) -> None:
        self._language = language
        self._stem: Callable[[str], str] = str
        self._stems: dict[str, str] = {}
        if language is not None:
            import Stemmer

            stemmer, stop_words = LANGUAGES[language]
            self._stem = Stemmer.Stemmer(stemmer).stemWord
            self._stems = dict.fromkeys(getattr(_bm25s().stopwords, stop_words), "")

    def __call__(self, text: str, query: bool = False) -> list[str]:
        terms = []
        for term, is_word in search_terms(lowered(text, self._language), query):
            if is_word and term not in self._stems:
                self._stems[term] = self._stem(term)
            terms.append(self._stems[term] if is_word else term)
        return [term for term in terms if term]


def _bm25s() -> Any:
    import bm25s

    logging.getLogger("bm25s").setLevel(logging.WARNING)  # bm25s sets its logger to DEBUG
    return bm25s


def _best(scores: NDArray[np.float32], k: int) -> list[int]:
    """Positions of the `k` highest scores, highest first; ties by position."""
    starts = np.arange(0, len(scores), 128)
    places = np.arange(len(scores))
    if k < len(starts):  # the k-th highest of the blocks' peaks is never above the k-th highest score
        peaks = np.maximum.reduceat(scores, starts)
        places = np.flatnonzero(scores >= np.partition(peaks, -k)[-k])
    order = np.argsort(-scores[places], kind="stable")[:k]
    return [int(place) for place in places[order]]


def _blocks(length: int, size: int = BLOCK) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, length, size))


def _digest(texts: Sequence[str], settings: Plain) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for text in texts:
        digest.update(json.dumps(text).encode() + b"\n")
    return digest.hexdigest()[:32]
