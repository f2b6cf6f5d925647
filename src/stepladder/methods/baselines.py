"""The floor of every report: two methods without a language model.

A prompt override, the decoding mode and `tuned=False` of a request change nothing here: the answers are the same.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from stepladder.errors import ConfigError, DataError, Fault
from stepladder.resources import Resources
from stepladder.types import Choice, EvalRequest, Example, Prediction, Question, TrainingData

if TYPE_CHECKING:
    from stepladder.methods.bag_of_words import Classifier, Nearest

BATCH = 256


@dataclass
class Majority:
    """Always the commonest answer of the training rows; of equally common ones the first in the alphabet.

    In a choice task a label's probability is its share of the training rows, one row added to each label (Laplace).
    """

    version: ClassVar[int] = 1
    prompted: ClassVar[bool] = False

    _counts: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"labels", "train"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        began = time.perf_counter()
        counts = Counter(answers_of(data.train))
        self._counts = dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
        resources.report.record({"trained_parameters": 0, "training_seconds": time.perf_counter() - began})

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        for question in request.questions:
            began = time.perf_counter()
            text, probabilities = self.commonest, None
            candidates = candidates_of(request, question)
            if candidates:
                text, probabilities = chosen({label: self._counts.get(label, 0) + 1.0 for label in candidates}, request)
            yield Prediction(question.id, text, probabilities, seconds=time.perf_counter() - began)

    @property
    def commonest(self) -> str:
        return next(iter(self._counts))

    def save(self, folder: Path) -> None:
        (folder / "counts.json").write_text(json.dumps(self._counts), encoding="utf-8")

    def load(self, folder: Path, resources: Resources) -> None:
        counts = json.loads((folder / "counts.json").read_text(encoding="utf-8"))
        if not counts or not all(isinstance(count, int) for count in counts.values()):
            raise ValueError("counts.json counts nothing")
        self._counts = counts


@dataclass
class Linear:
    """A linear model of words and pieces of words, fitted in seconds.

    Where the task has labels: logistic regression (`c`: inverse strength of its L2 penalty) on TF-IDF weights of runs
    of up to `words` words, and of up to `characters` characters within a word. A label without training rows has
    probability 0. Elsewhere: the answer of the training question with the highest TF-IDF cosine, among the question's
    own choices where it brings some; where nothing is alike, the commonest answer, or the first choice.
    """

    c: float = 10.0
    words: int = 2
    characters: int = 4
    version: ClassVar[int] = 2
    prompted: ClassVar[bool] = False

    _model: Classifier | Nearest | None = field(default=None, init=False, repr=False, compare=False)
    _floor: Majority = field(default_factory=Majority, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        faults = []
        if not self.c > 0:
            faults.append(Fault("c", f"c is {self.c}", "use more than 0"))
        if self.words < 1:
            faults.append(Fault("words", f"runs of {self.words} words", "use at least 1"))
        if self.characters < 2:
            faults.append(Fault("characters", f"runs of {self.characters} characters", "use at least 2"))
        if faults:
            raise ConfigError(faults)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"labels", "train"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        from stepladder.methods.bag_of_words import Classifier, Nearest, Weights

        began = time.perf_counter()
        self._floor.fit(data, resources)
        texts, answers = [text_of(row.question) for row in data.train], answers_of(data.train)
        if not any(text.strip() for text in texts):
            raise DataError("No training row has any text", "dataset.input", "name the column that holds the questions")
        weights = Weights.fitted(texts, self.words, self.characters)
        if isinstance(data.task.answer, Choice) and data.task.answer.labels:
            self._model = Classifier.fitted(weights, texts, answers, self.c)
        else:
            self._model = Nearest.fitted(weights, texts, answers)
        resources.report.record({"trained_parameters": self._model.parameters})
        resources.report.record({"training_seconds": time.perf_counter() - began})

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        for start in range(0, len(request.questions), BATCH):
            began = time.perf_counter()
            questions = request.questions[start : start + BATCH]
            answered = list(self._answered(request, questions))
            seconds = (time.perf_counter() - began) / len(questions)
            for question, (text, probabilities) in zip(questions, answered, strict=True):
                yield Prediction(question.id, text, probabilities, seconds=seconds)

    def _answered(
        self, request: EvalRequest, questions: Sequence[Question]
    ) -> Iterator[tuple[str, Mapping[str, float] | None]]:
        from stepladder.methods.bag_of_words import Nearest

        if self._model is None:
            raise RuntimeError("predict comes after fit or load")
        texts = [text_of(question) for question in questions]
        candidates = [candidates_of(request, question) for question in questions]
        if isinstance(self._model, Nearest):
            for found, own in zip(self._model.answer(texts, candidates), candidates, strict=True):
                yield found if found is not None else next(iter(own), self._floor.commonest), None
            return
        for known, own in zip(self._model.probabilities(texts), candidates, strict=True):
            yield chosen({label: known.get(label, 0.0) for label in own or known}, request)

    def save(self, folder: Path) -> None:
        if self._model is None:
            raise RuntimeError("save comes after fit")
        self._floor.save(folder)
        self._model.save(folder)

    def load(self, folder: Path, resources: Resources) -> None:
        from stepladder.methods.bag_of_words import Classifier, Nearest

        self._floor.load(folder, resources)
        self._model = (Classifier if (folder / "classifier.npz").exists() else Nearest).load(folder)


def answers_of(rows: Sequence[Example]) -> list[str]:
    """The first answer of each training row. Raises DataError if there are none."""
    if not rows:
        raise DataError("There are no training rows to learn from", "dataset.train", "name a file of training rows")
    return [row.answers[0] for row in rows]


def text_of(question: Question) -> str:
    """The turns before a question and the question, one per line."""
    return "\n".join([*(turn.content for turn in question.history), question.text])


def candidates_of(request: EvalRequest, question: Question) -> tuple[str, ...]:
    """What the answer must be one of; empty where anything goes."""
    labels = request.task.answer.labels if isinstance(request.task.answer, Choice) else ()
    return question.choices or labels


def chosen(shares: Mapping[str, float], request: EvalRequest) -> tuple[str, Mapping[str, float]]:
    """The greatest share's label (of equal ones the first), and the shares made to sum to one; all equal where all are
    zero."""
    total = sum(shares.values())
    probabilities = {label: share / total if total else 1 / len(shares) for label, share in shares.items()}
    text = max(probabilities, key=lambda label: probabilities[label])
    return text, probabilities if request.decoding.probabilities == "all" else {text: probabilities[text]}
