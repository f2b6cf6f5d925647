"""The passages shown with a question under each condition: none, gold, gold among distractors, distractors only.

No retriever is used, so that the distractors are the same for every method.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Literal

from stepladder.types import Example, Passage
from stepladder.words import lowered, search_terms

Distractors = Literal["near", "random"]
Beside = Mapping[str, tuple[Passage, ...]]


def distractors(
    examples: Sequence[Example], corpus: Sequence[Passage], count: int, kind: Distractors, seed: int
) -> Beside:
    """Of each question `count` passages that are not gold for it, less where the corpus has no more.

    near: those that share most words with it (cosine of TF-IDF), the nearest first. random: drawn.
    """
    order = _near(examples, corpus, count) if kind == "near" else _random(examples, corpus, seed)
    texts, found = {p.id: p.text for p in corpus}, {}
    for example, places in zip(examples, order, strict=True):
        gold = {*example.gold, *(texts[id_] for id_ in example.gold if id_ in texts)}
        others = (corpus[i] for i in places)
        found[example.question.id] = tuple(p for p in others if p.id not in gold and p.text not in gold)[:count]
    return found


def gold_of(examples: Sequence[Example], corpus: Sequence[Passage]) -> Beside:
    """Of each question its gold passages, as far as the corpus has them."""
    known = {p.id: p for p in corpus}
    return {e.question.id: tuple(known[id_] for id_ in e.gold if id_ in known) for e in examples}


def mixed(gold: Beside, others: Beside, count: int, seed: int) -> Beside:
    """Gold passages among others, `count` in all where there are so many, in an order drawn for each question."""
    found = {}
    for id_, own in gold.items():
        together = [*own, *others[id_][: max(0, count - len(own))]]
        Random(f"{seed}:{id_}").shuffle(together)
        found[id_] = tuple(together)
    return found


def _near(examples: Sequence[Example], corpus: Sequence[Passage], count: int) -> list[list[int]]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    def terms(text: str) -> list[str]:
        return [term for term, _ in search_terms(lowered(text))]

    weigh = TfidfVectorizer(sublinear_tf=True, analyzer=terms)
    passages = weigh.fit_transform([p.text for p in corpus] + [e.question.text for e in examples])[: len(corpus)]
    shares = (weigh.transform([e.question.text for e in examples]) @ passages.T).tocsr()
    found = []
    for row, example in enumerate(examples):
        weights = np.asarray(shares[row].todense()).ravel()
        found.append([int(i) for i in np.argsort(-weights, kind="stable")[: count + len(example.gold) + _TWINS]])
    return found


_TWINS = 20
"""So many more are looked at, for passages that say the same under another id."""


def _random(examples: Sequence[Example], corpus: Sequence[Passage], seed: int) -> list[list[int]]:
    def drawn(example: Example) -> list[int]:
        words = hashlib.sha256(f"{seed}:{example.question.id}".encode()).digest()
        return Random(words).sample(range(len(corpus)), len(corpus))

    return [drawn(example) for example in examples]
