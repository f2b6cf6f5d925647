"""What every context promises. A context of one's own joins by a line in CONTEXTS."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.context.context import Context, NoContext
from stepladder.context.demonstrations import Demonstrations
from stepladder.context.retrieval import Retrieval
from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.types import Choice, Example, Message, Passage, Question, Task, TrainingData

CONTEXTS: dict[str, Callable[[], Context]] = {
    "nothing": NoContext,
    "fixed": lambda: Demonstrations(k=3, selection="fixed"),
    "random": lambda: Demonstrations(k=3, selection="random"),
    "nearest": lambda: Demonstrations(k=3, embedder=ToyEmbedder()),
    "bm25": lambda: Retrieval(k=3),
    "dense": lambda: Retrieval(k=3, retriever="dense", embedder=ToyEmbedder(), chunk_words=4, chunk_overlap=1),
    "hybrid": lambda: Retrieval(k=3, retriever="hybrid", embedder=ToyEmbedder()),
}
WORDS = ["heat", "pump", "roof", "permit", "wall", "paint", "drain", "tax", "house", "window"]


def example(number: int, split: str) -> Example:
    drawn = random.Random(f"{split} {number}")
    text = " ".join(drawn.choices(WORDS, k=5))
    asked = Question(f"{split}-{number}", text, history=(Message("user", "é\u2028"),), tags={"from": split})
    return Example(asked, (drawn.choice(["indoors", "outdoors"]),), ("p1",))


TRAIN = tuple(example(number, "train") for number in range(40))
VALIDATION = tuple(example(number, "validation") for number in range(10))
QUESTIONS = [example(number, "test").question for number in range(25)]
CORPUS = tuple(Passage(row.question.id, f"{row.question.text}\n{row.answers[0]}") for row in TRAIN)
DATA = TrainingData(Task("Where?", Choice(("indoors", "outdoors"))), TRAIN, VALIDATION, CORPUS)


@pytest.fixture(params=CONTEXTS)
def make(request: pytest.FixtureRequest) -> Callable[[], Context]:
    return CONTEXTS[request.param]


@pytest.fixture
def context(make: Callable[[], Context]) -> Context:
    made = make()
    made.fit(DATA, Resources(), seed=7)
    return made


def test_it_is_a_context_that_reads_known_things(context: Context) -> None:
    assert isinstance(context, Context)
    assert context.reads <= {"train", "corpus", "seed"}


def test_one_question_is_shown_what_it_is_shown_among_many(context: Context) -> None:
    together = context.show(QUESTIONS)
    assert len(together) == len(QUESTIONS)
    assert [context.show([question])[0] for question in QUESTIONS] == together
    assert context.show(QUESTIONS[::-1]) == together[::-1]
    assert context.show([]) == []


def test_what_is_shown_comes_from_the_training_rows(context: Context) -> None:
    for shown in context.show(QUESTIONS):
        assert all(row in TRAIN for row in shown.demonstrations)
        assert set(shown.ids) <= {row.question.id for row in TRAIN}


def test_a_training_row_is_never_shown_itself(context: Context) -> None:
    asked = [row.question for row in TRAIN]
    for question, shown in zip(asked, context.show(asked, training=True), strict=True):
        assert question.id not in shown.ids
        assert question.text not in {other.question.text for other in shown.demonstrations}


def test_it_comes_back_as_it_was_saved(context: Context, make: Callable[[], Context], tmp_path: Path) -> None:
    context.save(tmp_path)
    back = make()
    back.load(tmp_path, Resources())
    assert back.show(QUESTIONS) == context.show(QUESTIONS)
    asked = [row.question for row in TRAIN]
    assert back.show(asked, training=True) == context.show(asked, training=True)


def test_a_shared_index_changes_nothing(context: Context, make: Callable[[], Context], tmp_path: Path) -> None:
    for _ in range(2):
        sharing = make()
        sharing.fit(DATA, Resources(shared=tmp_path), seed=7)
        assert sharing.show(QUESTIONS) == context.show(QUESTIONS)


def test_only_what_it_reads_counts(context: Context, make: Callable[[], Context]) -> None:
    other = replace(DATA, validation=())
    if "train" not in context.reads:
        other = replace(other, train=())
    if "corpus" not in context.reads:
        other = replace(other, corpus=())
    again = make()
    again.fit(other, Resources(), seed=7 if "seed" in context.reads else 8)
    assert again.show(QUESTIONS) == context.show(QUESTIONS)
