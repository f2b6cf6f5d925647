from collections import Counter

import pytest

from stepladder.context.demonstrations import Demonstrations
from stepladder.errors import ConfigError, DataError
from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.types import Choice, Example, Message, Question, Shown, Task, Text, TrainingData

TEXTS = {
    "card": ["my card is lost", "my card was stolen", "the card does not work", "a new card please", "card blocked"],
    "loan": ["i want a loan", "loan rates today"],
    "rent": ["how is rent paid", "rent is too high", "paying the rent late"],
}
ROWS = tuple(
    Example(Question(f"{label}-{number}", text), (label,))
    for label, texts in TEXTS.items()
    for number, text in enumerate(texts)
)
TASK = Task("Name the topic.", Choice(tuple(TEXTS)))


def fitted(demonstrations: Demonstrations, rows: tuple[Example, ...] = ROWS, seed: int = 0) -> Demonstrations:
    demonstrations.fit(TrainingData(TASK, rows), Resources(), seed)
    return demonstrations


def ids(shown: list[Shown]) -> list[tuple[str, ...]]:
    return [one.ids for one in shown]


def test_the_most_similar_row_is_last_next_to_the_question() -> None:
    demonstrations = fitted(Demonstrations(k=3, embedder=ToyEmbedder()))
    (shown,) = demonstrations.show([Question("q", "my card was stolen yesterday")])
    assert [example.question.id for example in shown.demonstrations][-2:] == ["card-0", "card-1"]
    assert shown.demonstrations[-1].answers == ("card",)


def test_nearest_also_uses_the_turns_before_the_question() -> None:
    demonstrations = fitted(Demonstrations(k=1, embedder=ToyEmbedder()))
    history = (Message("user", "loan rates of today please, loan rates"),)
    (shown,) = demonstrations.show([Question("q", "and?", history=history)])
    assert shown.ids == ("loan-1",)


def test_fixed_shows_the_same_balanced_rows_for_every_question() -> None:
    demonstrations = fitted(Demonstrations(k=6, selection="fixed"))
    first, second = demonstrations.show([Question("a", "one"), Question("b", "two")])
    assert first == second
    assert Counter(example.answers[0] for example in first.demonstrations) == {"card": 2, "loan": 2, "rent": 2}


def test_fixed_depends_on_content_not_on_the_order_of_the_file() -> None:
    one = fitted(Demonstrations(k=4, selection="fixed"))
    other = fitted(Demonstrations(k=4, selection="fixed"), rows=ROWS[::-1])
    assert ids(one.show([Question("q", "?")])) == ids(other.show([Question("q", "?")]))


def test_random_depends_on_seed_and_question_only() -> None:
    questions = [Question(f"q{number}", "?") for number in range(20)]
    seeded = fitted(Demonstrations(k=3, selection="random"), seed=1).show(questions)
    assert ids(fitted(Demonstrations(k=3, selection="random"), rows=ROWS[::-1], seed=1).show(questions)) == ids(seeded)
    assert ids(fitted(Demonstrations(k=3, selection="random"), seed=2).show(questions)) != ids(seeded)
    assert len(set(ids(seeded))) > 10
    assert all(len(set(one)) == 3 for one in ids(seeded))


@pytest.mark.parametrize("selection", ["nearest", "fixed", "random"])
def test_in_training_a_row_is_never_shown_itself_or_its_duplicate(selection: str) -> None:
    double = Example(Question("double", "  my card\nis lost "), ("card",))
    demonstrations = fitted(
        Demonstrations(k=4, selection=selection, embedder=ToyEmbedder()),  # type: ignore[arg-type]
        rows=(*ROWS, double),
    )
    questions = [example.question for example in (*ROWS, double)]
    for question, shown in zip(questions, demonstrations.show(questions, training=True), strict=True):
        assert question.id not in shown.ids
        assert len(shown.ids) == 4
        if question.id in ("double", "card-0"):
            assert not {"double", "card-0"} & set(shown.ids)


def test_all_rows_are_shown_where_there_are_fewer_than_k() -> None:
    demonstrations = fitted(Demonstrations(k=50, selection="fixed"))
    assert len(demonstrations.show([Question("q", "?")])[0].ids) == len(ROWS)


def test_text_tasks_are_supported() -> None:
    demonstrations = Demonstrations(k=2, selection="fixed")
    demonstrations.fit(TrainingData(Task("Answer.", Text()), ROWS), Resources())
    assert len(demonstrations.show([Question("q", "?")])[0].ids) == 2


def test_what_is_read() -> None:
    assert Demonstrations(selection="fixed").reads == {"train"}
    assert Demonstrations(embedder=ToyEmbedder()).reads == {"train"}
    assert Demonstrations(selection="random").reads == {"train", "seed"}


def test_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Demonstrations(k=0)
    assert [fault.key for fault in caught.value.faults] == ["k", "embedder"]
    with pytest.raises(ConfigError, match="use one of nearest, fixed, random"):
        Demonstrations(selection="best")  # type: ignore[arg-type]


def test_no_training_rows_is_an_error() -> None:
    with pytest.raises(DataError, match=r"dataset\.train"):
        fitted(Demonstrations(selection="fixed"), rows=())
