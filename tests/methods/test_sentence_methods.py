"""Logistic regression on sentence embeddings, and the fine-tuned encoder, on the toy embedder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stepladder.errors import ConfigError, DataError
from stepladder.methods import sentence_vectors
from stepladder.methods.sentence_methods import Embedding, Encoder
from stepladder.methods.sentence_vectors import VectorClassifier, chosen_strength
from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.types import Answer, Choice, Decoding, EvalRequest, Example, Prediction, Question, Task, TrainingData
from stepladder.types import Text as FreeText

LABELS = Choice(("card", "loan", "rent", "unseen"))
PAIRS = [
    ("my card is lost", "card"),
    ("the card was stolen", "card"),
    ("card blocked again", "card"),
    ("i want a loan", "loan"),
    ("loan rates please", "loan"),
    ("how do i pay the rent", "rent"),
    ("the rent is late", "rent"),
]
KINDS = [Embedding, Encoder]
TOY = ToyEmbedder(64)


def rows(pairs: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(Question(f"t{number}", text), (answer,)) for number, (text, answer) in enumerate(pairs))


def data(answer: Answer, pairs: Sequence[tuple[str, str]] = PAIRS) -> TrainingData:
    return TrainingData(Task("", answer), rows(pairs), rows(pairs[::2]))


def fitted(kind: type, answer: Answer = LABELS, seed: int = 0, **arguments: object) -> Embedding | Encoder:
    method: Embedding | Encoder = kind(TOY, **arguments)
    method.fit(data(answer), Resources(), seed)
    return method


def asked(method: Embedding | Encoder, answer: Answer, *questions: Question | str) -> list[Prediction]:
    made = tuple(q if isinstance(q, Question) else Question(f"q{number}", q) for number, q in enumerate(questions))
    return list(method.predict(EvalRequest("main", Task("", answer), made, Decoding("choose")), Resources()))


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_and_gives_probabilities_that_sum_to_one(kind: type) -> None:
    found = asked(fitted(kind), LABELS, "lost my card", "rates of a loan", "paying the rent")
    assert [each.text for each in found] == ["card", "loan", "rent"]
    for each in found:
        assert each.probabilities is not None
        assert tuple(each.probabilities) == LABELS.labels
        assert sum(each.probabilities.values()) == pytest.approx(1)
        assert each.probabilities["unseen"] == 0
        assert (each.prompt_tokens, each.new_tokens) == (0, 0)
        assert each.seconds > 0


@pytest.mark.parametrize("answer", [LABELS, FreeText(), Choice()], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_comes_back_as_it_was_saved_and_without_a_pickle(kind: type, answer: Answer, tmp_path: Path) -> None:
    method = fitted(kind, answer)
    method.save(tmp_path)
    back = kind(TOY)
    back.load(tmp_path, Resources())
    questions = [Question(f"q{number}", text, choices=("card", "loan")) for number, (text, _) in enumerate(PAIRS)]
    before, after = ([replace(each, seconds=0) for each in asked(m, answer, *questions)] for m in (method, back))
    assert before == after
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_artefact_is_refused(kind: type, tmp_path: Path) -> None:
    fitted(kind).save(tmp_path)
    (weights,) = tmp_path.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(ValueError, match=weights.name):
        kind(TOY).load(tmp_path, Resources())


def test_without_labels_the_nearest_row_answers() -> None:
    assert asked(fitted(Embedding, FreeText()), FreeText(), "the card was stolen!")[0].text == "card"
    own = Question("q", "the card was stolen", choices=("loan", "rent"))
    assert asked(fitted(Embedding, Choice()), Choice(), own)[0].text in own.choices


def test_c_is_chosen_on_validation_rows_or_by_cross_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    answers = [str(number % 3) for number in range(90)]
    vectors = generator.normal(size=(90, 8)).astype(np.float32)  # labels are noise: the strongest penalty wins
    assert chosen_strength(vectors, answers, vectors[:0], []) <= 0.01
    monkeypatch.setattr(sentence_vectors, "FEWEST", 10)
    assert chosen_strength(vectors, answers, vectors, answers) == max(sentence_vectors.STRENGTHS)
    assert chosen_strength(vectors[:1], answers[:1], vectors[:0], []) == min(sentence_vectors.STRENGTHS)


def test_it_is_plain_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    vectors, answers = TOY.embed([text for text, _ in PAIRS]), [label for _, label in PAIRS]
    expected = LogisticRegression(C=3.0).fit(vectors, answers).predict_proba(vectors)
    assert VectorClassifier.fitted(vectors, answers, 3.0).shares(vectors) == pytest.approx(expected, abs=1e-4)


def test_what_the_fits_read_and_report() -> None:
    assert Embedding(TOY).reads == {"labels", "train", "validation"}
    assert Embedding(TOY, c=1.0).reads == {"labels", "train"}
    assert Encoder(TOY).reads == {"labels", "train", "validation", "seed"}
    resources = Resources()
    Encoder(TOY, epochs=1).fit(data(LABELS), resources)
    figures = resources.report.figures
    assert figures["trained_parameters"] == 64 * 64 + 3 * 65
    assert not figures["training_tokens"]
    assert figures["training_seconds"] > 0


def test_what_can_not_be_is_refused() -> None:
    class Fixed:
        def embed(self, texts: Sequence[str]) -> np.ndarray:
            return TOY.embed(texts)

        def fingerprint(self) -> dict[str, int]:
            return {}

    with pytest.raises(ConfigError, match="no network"):
        Encoder(Fixed())
    with pytest.raises(ConfigError, match="c is 0"):
        Embedding(TOY, c=0)
    with pytest.raises(ConfigError, match="at least 1"):
        Encoder(TOY, epochs=0)
    for kind in KINDS:
        with pytest.raises(DataError, match=r"dataset\.train"):
            kind(TOY).fit(data(LABELS, []), Resources())
