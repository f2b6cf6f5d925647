import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.errors import ConfigError, DataError
from stepladder.methods.baselines import Linear, Majority
from stepladder.methods.method import Method
from stepladder.resources import Resources
from stepladder.types import (
    Answer,
    Choice,
    Decoding,
    EvalRequest,
    Example,
    Json,
    Message,
    Prediction,
    Question,
    Task,
    Text,
    TrainingData,
)

LABELS = ("card", "loan", "rent")
PAIRS = [
    ("my card is lost", "card"),
    ("the card was stolen", "card"),
    ("card blocked again", "card"),
    ("i want a loan", "loan"),
    ("loan rates please", "loan"),
    ("how do i pay the rent", "rent"),
]


def rows(pairs: Sequence[tuple[str, str]]) -> tuple[Example, ...]:
    return tuple(Example(Question(f"t{number}", text), (answer,)) for number, (text, answer) in enumerate(pairs))


def fitted(method: Method, answer: Answer, pairs: Sequence[tuple[str, str]] = PAIRS) -> Method:
    method.fit(TrainingData(Task("", answer), rows(pairs)), Resources())
    return method


def asked(method: Method, answer: Answer, *questions: Question | str, **decoding: str) -> list[Prediction]:
    numbered = enumerate(questions)
    made = tuple(one if isinstance(one, Question) else Question(f"q{number}", one) for number, one in numbered)
    request = EvalRequest("main", Task("", answer), made, Decoding("choose", **decoding))  # type: ignore[arg-type]
    return list(method.predict(request, Resources()))


def test_majority_answers_the_commonest_label_with_its_share() -> None:
    (prediction,) = asked(fitted(Majority(), Choice((*LABELS, "new"))), Choice((*LABELS, "new")), "anything")
    assert prediction.text == "card"
    assert prediction.probabilities == pytest.approx({"card": 4 / 10, "loan": 3 / 10, "rent": 2 / 10, "new": 1 / 10})


def test_majority_of_equally_common_answers_is_the_first_in_the_alphabet() -> None:
    for pairs in ([("a", "y"), ("b", "x")], [("b", "x"), ("a", "y")]):
        assert asked(fitted(Majority(), Text(), pairs), Text(), "?")[0].text == "x"


def test_majority_serves_text_and_json() -> None:
    answer = Json({"type": "object"})
    (prediction,) = asked(fitted(Majority(), answer, [("a", "{}"), ("b", '{"n":1}'), ("c", "{}")]), answer, "?")
    assert prediction.text == "{}"
    assert prediction.probabilities is None


def test_linear_learns_words_and_gives_probabilities_that_sum_to_one() -> None:
    labels = Choice((*LABELS, "unseen"))
    predictions = asked(fitted(Linear(), labels), labels, "lost my card", "rates of a loan", "paying rent")
    assert [prediction.text for prediction in predictions] == ["card", "loan", "rent"]
    assert [prediction.id for prediction in predictions] == ["q0", "q1", "q2"]
    for prediction in predictions:
        assert prediction.probabilities is not None
        assert tuple(prediction.probabilities) == labels.labels
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.probabilities["unseen"] == 0
        assert prediction.seconds > 0


@pytest.mark.parametrize("count", [1, 2])
def test_linear_with_few_labels(count: int) -> None:
    labels = Choice(LABELS[:count])
    pairs = [pair for pair in PAIRS if pair[1] in labels.labels]
    first, last = asked(fitted(Linear(), labels, pairs), labels, "the card", "a loan")
    assert (first.text, last.text) == (labels.labels[0], labels.labels[-1])


def test_two_labels_are_plain_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    from stepladder.methods.bag_of_words import Weights

    pairs = [pair for pair in PAIRS if pair[1] != "rent"]
    weights = Weights.fitted([text for text, _ in pairs], 2, 4)
    reference = LogisticRegression(C=10.0).fit(weights.of([text for text, _ in pairs]), [label for _, label in pairs])
    expected = reference.predict_proba(weights.of(["card loan"]))[0]
    (prediction,) = asked(fitted(Linear(), Choice(("card", "loan")), pairs), Choice(("card", "loan")), "card loan")
    assert prediction.probabilities is not None
    assert list(prediction.probabilities.values()) == pytest.approx(list(expected), abs=1e-6)


def test_the_turns_before_the_question_count() -> None:
    method = fitted(Linear(), Choice(LABELS))
    question = Question("q", "and then?", history=(Message("user", "how do i pay the rent"),))
    assert asked(method, Choice(LABELS), question)[0].text == "rent"


@pytest.mark.parametrize("method", [Majority(), Linear()])
def test_a_question_s_own_choices_restrict_the_answer(method: Method) -> None:
    fitted(method, Choice(LABELS))
    own, strange = asked(
        method,
        Choice(LABELS),
        Question("own", "my card", choices=("rent", "loan")),
        Question("strange", "my card", choices=("x", "y")),
    )
    assert own.text in ("rent", "loan")
    assert own.probabilities is not None
    assert sum(own.probabilities.values()) == pytest.approx(1)
    assert strange.probabilities == {"x": 0.5, "y": 0.5}
    assert strange.text == "x"


@pytest.mark.parametrize("method", [Majority(), Linear()])
def test_only_the_best_label_s_probability_where_no_more_is_wanted(method: Method) -> None:
    (full,) = asked(fitted(method, Choice(LABELS)), Choice(LABELS), "card")
    (best,) = asked(method, Choice(LABELS), "card", probabilities="best")
    assert full.probabilities is not None
    assert best.probabilities == {best.text: full.probabilities[best.text]}


def test_linear_answers_text_with_the_nearest_row_s_answer() -> None:
    pairs = [("how long does a permit take", "ten weeks"), ("what does a roof cost", "much"), ("why rain", "much")]
    predictions = asked(fitted(Linear(), Text(), pairs), Text(), "how long for the permit", "∑")
    assert [prediction.text for prediction in predictions] == ["ten weeks", "much"]
    assert predictions[0].probabilities is None


def test_without_shared_labels_the_nearest_row_that_had_one_of_the_choices_decides() -> None:
    method = fitted(Linear(), Choice())
    near, none = asked(
        method,
        Choice(),
        Question("near", "the card was stolen", choices=("loan", "rent")),
        Question("none", "the card", choices=("x", "y")),
    )
    assert near.text in ("loan", "rent")
    assert none.text == "x"


@pytest.mark.parametrize("answer", [Choice(LABELS), Choice(LABELS[:2]), Text(), Choice()], ids=str)
@pytest.mark.parametrize("kind", [Majority, Linear])
def test_it_comes_back_as_it_was_saved_and_without_a_pickle(
    kind: type[Majority] | type[Linear], answer: Answer, tmp_path: Path
) -> None:
    method = fitted(kind(), answer)
    questions = [Question(f"q{number}", text, choices=("card", "loan")) for number, (text, _) in enumerate(PAIRS)]
    method.save(tmp_path)
    back = kind()
    back.load(tmp_path, Resources())
    before, after = (
        [replace(prediction, seconds=0) for prediction in asked(one, answer, *questions)] for one in (method, back)
    )
    assert before == after
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".npz", ".npy"}


def test_costs_are_told() -> None:
    resources = Resources()
    Linear(words=1, characters=2).fit(TrainingData(Task("", Choice(LABELS)), rows(PAIRS)), resources)
    assert resources.report.figures["trained_parameters"] % 3 == 0
    assert resources.report.figures["trained_parameters"] > 100
    assert resources.report.figures["training_seconds"] > 0


def test_validation_rows_and_seed_change_nothing() -> None:
    more = TrainingData(Task("", Choice(LABELS)), rows(PAIRS), validation=rows([("card", "rent")] * 9))
    for kind in (Majority, Linear):
        method = kind()
        assert method.reads == {"labels", "train"}
        method.fit(more, Resources(), seed=5)
        other = asked(fitted(kind(), Choice(LABELS)), Choice(LABELS), "card")[0]
        assert asked(method, Choice(LABELS), "card")[0].probabilities == other.probabilities


def test_what_can_not_be_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        Linear(c=0, words=0, characters=1)
    assert [fault.key for fault in caught.value.faults] == ["c", "words", "characters"]
    for method in (Majority(), Linear()):
        with pytest.raises(DataError, match=r"dataset\.train"):
            fitted(method, Choice(LABELS), [])
    with pytest.raises(DataError, match=r"dataset\.input"):
        fitted(Linear(), Choice(LABELS), [(" ", "card")])


@pytest.mark.slow
def test_linear_reaches_88_percent_on_banking77(data_folder: Path) -> None:
    pairs = {}
    for name in ("train", "test"):
        with (data_folder / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            pairs[name] = [(row["text"], row["category"]) for row in csv.DictReader(stream)]
    labels = Choice(tuple(sorted({label for _, label in pairs["train"]})))
    predictions = asked(fitted(Linear(), labels, pairs["train"]), labels, *(text for text, _ in pairs["test"]))
    right = sum(one.text == label for one, (_, label) in zip(predictions, pairs["test"], strict=True))
    assert len(labels.labels) == 77
    assert right / len(predictions) >= 0.88, right
