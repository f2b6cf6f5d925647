"""Two baselines on a sentence encoder, without a language model: frozen embeddings, and the fine-tuned encoder.

A prompt override, the decoding mode and `tuned=False` of a request change nothing here: the answers are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias, runtime_checkable

from stepladder.errors import ConfigError, Fault
from stepladder.methods.baselines import BATCH, Majority, answers_of, candidates_of, chosen, text_of
from stepladder.resources import Resources
from stepladder.types import Choice, Embedder, EvalRequest, Example, Prediction, Question, TrainingData

if TYPE_CHECKING:
    from stepladder.methods.sentence_vectors import NearestVector, VectorClassifier, Vectors
    from stepladder.tuning.encoder import EncoderClassifier, TextNetwork

Answered: TypeAlias = Callable[[EvalRequest, Sequence[Question]], Iterator[tuple[str, Mapping[str, float] | None]]]


@runtime_checkable
class TrainableEmbedder(Embedder, Protocol):
    """An embedder whose network can be trained."""

    def network(self, device: str) -> TextNetwork:
        """A new copy of the network on a torch device."""
        ...


@dataclass
class Embedding:
    """Logistic regression on frozen sentence embeddings.

    If the task has labels: multinomial logistic regression. A label without training rows has probability 0.
    Otherwise: the answer of the training question with the highest cosine, among the question's own choices if it has
    any.

    Args:
        embedder: The sentence embeddings.
        c: Inverse strength of the L2 penalty. None chooses it from ten values between 1e-4 and 1e4 by the log loss: on
            the validation rows, or by 5-fold cross-validation on the training rows if there are fewer than 100
            validation rows. The weights are fitted to the training rows only.
    """

    embedder: Embedder
    c: float | None = None
    version: ClassVar[int] = 1
    prompted: ClassVar[bool] = False

    _model: VectorClassifier | NearestVector | None = field(default=None, init=False, repr=False, compare=False)
    _floor: Majority = field(default_factory=Majority, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.c is not None and not self.c > 0:
            raise ConfigError(Fault("c", f"c is {self.c}", "use more than 0, or null"))

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"labels", "train", "validation"} if self.c is None else {"labels", "train"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        from stepladder.methods.sentence_vectors import NearestVector

        began = time.perf_counter()
        self._floor.fit(data, resources)
        if _has_labels(data):
            self._model, c = fitted_head(self.embedder, data, self.c)
            resources.report.record({"c": c, "trained_parameters": _parameters(self._model)})
        else:
            self._model = NearestVector(_vectors(self.embedder, data.train), tuple(answers_of(data.train)))
        resources.report.record({"training_seconds": time.perf_counter() - began})

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        if self._model is None:
            raise RuntimeError("predict comes after fit or load")
        self.embedder.embed(["a"])  # loads the weights, which is no part of the time of a question
        return _predictions(self._answered, request)

    def _answered(
        self, request: EvalRequest, questions: Sequence[Question]
    ) -> Iterator[tuple[str, Mapping[str, float] | None]]:
        from stepladder.methods.sentence_vectors import VectorClassifier

        vectors = self.embedder.embed([text_of(question) for question in questions])
        candidates = [candidates_of(request, question) for question in questions]
        if isinstance(self._model, VectorClassifier):
            for row, own in zip(self._model.shares(vectors).tolist(), candidates, strict=True):
                yield _label(dict(zip(self._model.labels, row, strict=True)), own, request)
        elif self._model is not None:
            for found, own in zip(self._model.answer(vectors, candidates), candidates, strict=True):
                yield found if found is not None else next(iter(own), self._floor.commonest), None

    def save(self, folder: Path) -> None:
        if self._model is None:
            raise RuntimeError("save comes after fit")
        self._floor.save(folder)
        self._model.save(folder)

    def load(self, folder: Path, resources: Resources) -> None:
        from stepladder.methods.sentence_vectors import NearestVector, VectorClassifier

        self._floor.load(folder, resources)
        kind = VectorClassifier if (folder / "classifier.safetensors").exists() else NearestVector
        self._model = kind.load(folder)


@dataclass
class Encoder:
    """The embedder's encoder, fine-tuned with a classification head.

    The head starts as the logistic regression of `Embedding`; then all weights are trained (linear probing, then
    fine-tuning: Kumar et al. 2022, arXiv 2202.10054). The weights with the lowest validation loss are kept. The
    defaults are those of BERT (Devlin et al. 2019, arXiv 1810.04805, appendix A.3: batches of 16, 5e-5) with the longer
    training and the warm-up over a tenth of the steps that few rows need (Mosbach et al. 2021, arXiv 2006.04884).
    If the task has no labels, nothing is trained, and the answers are those of `Embedding`.

    Args:
        embedder: The encoder; its network must be trainable.
        epochs: The largest number of epochs.
        batch_size: Number of rows per step.
        learning_rate: Its peak. It rises linearly during `warmup`, a share of all steps, and falls linearly to 0.
        weight_decay: Of AdamW.
        patience: Stop after this many epochs without a lower validation loss; None never stops early.
    """

    embedder: Embedder
    epochs: int = 10
    batch_size: int = 16
    learning_rate: float = 5e-5
    warmup: float = 0.1
    weight_decay: float = 0.01
    patience: int | None = 2
    version: ClassVar[int] = 1
    prompted: ClassVar[bool] = False

    _fitted: EncoderClassifier | None = field(default=None, init=False, repr=False, compare=False)
    _nearest: Embedding | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from stepladder.tuning.training import Training

        if not isinstance(self.embedder, TrainableEmbedder):
            what = f"{type(self.embedder).__name__} has no network that can be trained"
            raise ConfigError(Fault("embedder", what, "use embedder=all_minilm, or method=embedding"))
        self._training = Training(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule="linear",
            warmup=self.warmup,
            weight_decay=self.weight_decay,
            precision="float32",
            patience=self.patience,
        )

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"labels", "train", "validation", "seed"})

    def fit(self, data: TrainingData, resources: Resources, seed: int = 0) -> None:
        if not _has_labels(data):
            self._nearest = Embedding(self.embedder)
            self._nearest.fit(data, resources, seed)
            return
        from stepladder.tuning.encoder import EncoderClassifier, LabelledText, train_encoder

        began = time.perf_counter()
        head, c = fitted_head(self.embedder, data, None)
        network = EncoderClassifier(self._network(resources), head.labels)
        network.start_head(head.weight, head.bias)
        known = set(head.labels)
        rows, validation = (
            [LabelledText(text_of(e.question), e.answers[0]) for e in examples if e.answers[0] in known]
            for examples in (data.train, data.validation)
        )
        train_encoder(network, rows, validation, self._training, resources, seed)
        self._fitted = network
        trained = sum(weight.numel() for weight in network.parameters())
        resources.report.record({"head_c": c, "trained_parameters": trained})
        resources.report.record({"training_seconds": time.perf_counter() - began})

    def _network(self, resources: Resources) -> TextNetwork:
        assert isinstance(self.embedder, TrainableEmbedder)
        return self.embedder.network(resources.devices.torch_device())

    def predict(self, request: EvalRequest, resources: Resources) -> Iterator[Prediction]:
        if self._nearest is not None:
            return self._nearest.predict(request, resources)
        if self._fitted is None:
            raise RuntimeError("predict comes after fit or load")
        return _predictions(self._answered, request)

    def _answered(
        self, request: EvalRequest, questions: Sequence[Question]
    ) -> Iterator[tuple[str, Mapping[str, float] | None]]:
        assert self._fitted is not None
        for shares, question in zip(self._fitted.shares(list(map(text_of, questions))), questions, strict=True):
            yield _label(shares, candidates_of(request, question), request)

    def save(self, folder: Path) -> None:
        if self._nearest is not None:
            self._nearest.save(folder)
        elif self._fitted is not None:
            self._fitted.save(folder)
        else:
            raise RuntimeError("save comes after fit")

    def load(self, folder: Path, resources: Resources) -> None:
        from stepladder.tuning.encoder import EncoderClassifier

        if EncoderClassifier.is_saved(folder):
            self._fitted = EncoderClassifier.load(folder, self._network(resources))
        else:
            self._nearest = Embedding(self.embedder)
            self._nearest.load(folder, resources)


def fitted_head(embedder: Embedder, data: TrainingData, c: float | None) -> tuple[VectorClassifier, float]:
    """Logistic regression on the embeddings of the training rows, and its C (chosen if None is given)."""
    from stepladder.methods.sentence_vectors import VectorClassifier, chosen_strength

    vectors, answers = _vectors(embedder, data.train), answers_of(data.train)
    if c is None:
        held = [example.answers[0] for example in data.validation]
        c = chosen_strength(vectors, answers, _vectors(embedder, data.validation), held)
    return VectorClassifier.fitted(vectors, answers, c), c


def _vectors(embedder: Embedder, examples: Sequence[Example]) -> Vectors:
    return embedder.embed([text_of(example.question) for example in examples])


def _has_labels(data: TrainingData) -> bool:
    return isinstance(data.task.answer, Choice) and bool(data.task.answer.labels)


def _parameters(model: VectorClassifier) -> int:
    count = 1 if len(model.labels) == 2 else len(model.labels)
    return count * (int(model.weight.shape[1]) + 1)


def _label(
    known: Mapping[str, float], own: Sequence[str], request: EvalRequest
) -> tuple[str, Mapping[str, float] | None]:
    return chosen({label: known.get(label, 0.0) for label in own or known}, request)


def _predictions(answer: Answered, request: EvalRequest) -> Iterator[Prediction]:
    """Predictions from a function that answers a batch of questions."""
    for start in range(0, len(request.questions), BATCH):
        began = time.perf_counter()
        questions = request.questions[start : start + BATCH]
        answered = list(answer(request, questions))
        seconds = (time.perf_counter() - began) / len(questions)
        for question, (text, probabilities) in zip(questions, answered, strict=True):
            yield Prediction(question.id, text, probabilities, seconds=seconds)
