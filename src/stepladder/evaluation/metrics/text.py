"""Metrics of free text: the best over the expected answers, then the mean over questions.

rouge-score and sacrebleu are imported at first use.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from stepladder.evaluation.metrics.choice import PerQuestion
from stepladder.types import Example, Prediction, Task
from stepladder.words import lowered, without_punctuation, words

ARTICLES = frozenset({"a", "an", "the"})


def normalised(text: str) -> str:
    """SQuAD's normal form in every script: NFC, lower case, no punctuation, no English article, single spaces.

    After the official evaluation script of SQuAD 1.1 and 2.0 (`normalize_answer`), which takes off ASCII punctuation;
    that of MLQA (Lewis et al. 2020, arXiv 1910.07475) takes off punctuation of every script, as is done here.
    """
    return " ".join(word for word in without_punctuation(lowered(text)).split() if word not in ARTICLES)


def tokens(text: str) -> list[str]:
    """The words of the normal form; in scripts without spaces every character is one, as in MLQA's script."""
    return [token for word in normalised(text).split() for token in words(word) or [word]]


class BestAnswer(PerQuestion):
    """The best agreement with an expected answer. A question without any expects an empty text."""

    def agreement(self, text: str, answer: str) -> float:
        raise NotImplementedError

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        return max(self.agreement(prediction.text, answer) for answer in example.answers or ("",))


@dataclass(frozen=True)
class ExactMatch(BestAnswer):
    """Equal in SQuAD's normal form."""

    version: ClassVar[int] = 2
    binary: ClassVar[bool] = True

    def agreement(self, text: str, answer: str) -> float:
        return float(normalised(text) == normalised(answer))


@dataclass(frozen=True)
class TokenF1(BestAnswer):
    """F1 of the words in SQuAD's normal form, counted with repetition. Two empty texts agree."""

    version: ClassVar[int] = 2

    def agreement(self, text: str, answer: str) -> float:
        ours, theirs = tokens(text), tokens(answer)
        if not ours or not theirs:
            return float(ours == theirs)
        common = sum((Counter(ours) & Counter(theirs)).values())
        return 2 * common / (len(ours) + len(theirs))


@dataclass(frozen=True)
class RougeL(BestAnswer):
    """ROUGE-L's F-measure by rouge-score, without stemming, over words of every script.

    rouge-score's own tokenizer keeps the letters a to z and digits only; on such text both give the same words. Two
    texts without a word agree where they are equal.
    """

    version: ClassVar[int] = 2

    def agreement(self, text: str, answer: str) -> float:
        if not _rouge_words(text) and not _rouge_words(answer):
            return float(lowered(text).split() == lowered(answer).split())
        return float(_rouge().score(answer, text)["rougeL"].fmeasure)


@dataclass(frozen=True)
class ChrF(BestAnswer):
    """Sentence-level chrF2 by sacrebleu (characters up to six, no words), divided by 100, of texts in NFC."""

    version: ClassVar[int] = 2

    def agreement(self, text: str, answer: str) -> float:
        said, wanted = (unicodedata.normalize("NFC", each) for each in (text, answer))
        return float(_chrf().sentence_score(said, [wanted]).score) / 100


class _Tokenizer:
    """The tokenizer interface of rouge-score."""

    def tokenize(self, text: str) -> list[str]:
        return _rouge_words(text)


def _rouge_words(text: str) -> list[str]:
    """Words as rouge-score has them: an underscore separates them."""
    return words(lowered(text).replace("_", " "))


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"], tokenizer=_Tokenizer())


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
