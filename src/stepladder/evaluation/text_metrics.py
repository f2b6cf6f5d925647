"""Metrics of free text. Each is the best over the answers that count, then the mean over questions.

Knows strings only. The libraries underneath (rouge-score, sacrebleu) are loaded at first use.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from stepladder.evaluation.metrics import PerQuestion
from stepladder.records import Example, Prediction, Task

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """SQuAD's normal form: lower case, no ASCII punctuation, no English article, single spaces.

    After the official evaluation script of SQuAD 1.1 and 2.0 (`normalize_answer`).
    """
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


class BestAnswer(PerQuestion):
    """The best agreement with an answer that counts. A question without any expects an empty text."""

    def agreement(self, text: str, answer: str) -> float:
        raise NotImplementedError

    def value(self, prediction: Prediction, example: Example, task: Task) -> float:
        return max(self.agreement(prediction.text, answer) for answer in example.answers or ("",))


@dataclass(frozen=True)
class ExactMatch(BestAnswer):
    """Equal in SQuAD's normal form."""

    binary: ClassVar[bool] = True

    def agreement(self, text: str, answer: str) -> float:
        return float(normalised(text) == normalised(answer))


@dataclass(frozen=True)
class TokenF1(BestAnswer):
    """F1 of the words in SQuAD's normal form, counted with repetition. Two empty texts agree."""

    def agreement(self, text: str, answer: str) -> float:
        ours, theirs = normalised(text).split(), normalised(answer).split()
        if not ours or not theirs:
            return float(ours == theirs)
        common = sum((Counter(ours) & Counter(theirs)).values())
        return 2 * common / (len(ours) + len(theirs))


@dataclass(frozen=True)
class RougeL(BestAnswer):
    """ROUGE-L's F-measure by rouge-score, without stemming.

    Its tokenizer keeps the letters a to z and digits only: use chrF for other scripts.
    """

    def agreement(self, text: str, answer: str) -> float:
        return float(_rouge().score(answer, text)["rougeL"].fmeasure)


@dataclass(frozen=True)
class ChrF(BestAnswer):
    """Sentence-level chrF2 by sacrebleu (characters up to six, no words), divided by 100."""

    def agreement(self, text: str, answer: str) -> float:
        return float(_chrf().sentence_score(text, [answer]).score) / 100


@lru_cache(maxsize=1)
def _rouge() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rougeL"])


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
