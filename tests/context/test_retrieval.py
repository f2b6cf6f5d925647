import json
from pathlib import Path

import pytest

from stepladder.context.retrieval import Retrieval
from stepladder.errors import ConfigError, DataError
from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.types import Choice, Example, Passage, Question, Shown, Task, Text, TrainingData

PASSAGES = (
    Passage("permit", "A building permit is granted by the municipality after ten weeks."),
    Passage("pump", "Heat pumps were installed in most houses, and heating became cheap."),
    Passage("roof", "The roof was covered with slate. Roofing takes a week."),
)


def fitted(retrieval: Retrieval, corpus: tuple[Passage, ...] = PASSAGES, train: tuple[Example, ...] = ()) -> Retrieval:
    retrieval.fit(TrainingData(Task("Answer.", Text()), train, corpus=corpus), Resources())
    return retrieval


def asked(retrieval: Retrieval, text: str, training: bool = False) -> Shown:
    return retrieval.show([Question("q", text)], training)[0]


def test_bm25_finds_other_forms_of_a_word_best_first() -> None:
    assert asked(fitted(Retrieval()), "How are permits for roofs granted?").ids == ("permit", "roof")


def test_without_a_language_only_the_exact_word_is_found() -> None:
    retrieval = fitted(Retrieval(language=None))
    assert asked(retrieval, "permits").ids == ()
    assert asked(retrieval, "the permit").ids[0] == "permit"


def test_bm25_shows_only_passages_with_a_common_word() -> None:
    retrieval = fitted(Retrieval())
    assert asked(retrieval, "zebra").ids == ()
    assert asked(retrieval, "is it that of the").ids == ()
    assert asked(retrieval, "").ids == ()


def test_dense_and_hybrid_show_k() -> None:
    dense = fitted(Retrieval(k=2, retriever="dense", embedder=ToyEmbedder()))
    assert asked(dense, "heat pumps installed in houses").ids[0] == "pump"
    assert len(asked(dense, "zebra").ids) == 2
    hybrid = fitted(Retrieval(k=3, retriever="hybrid", embedder=ToyEmbedder()))
    assert asked(hybrid, "slate roofing").ids[0] == "roof"
    assert len(asked(hybrid, "slate roofing").ids) == 3


def test_chunks_contain_every_word_overlap_as_configured_and_have_their_passage_s_id() -> None:
    words = [f"word{number}" for number in range(11)]
    retrieval = fitted(Retrieval(k=9, chunk_words=4, chunk_overlap=1), corpus=(Passage("p", " ".join(words)),))
    assert asked(retrieval, "word3").ids == ("p", "p")
    pieces = {passage.text for word in words for passage in asked(retrieval, word).passages}
    assert pieces == {" ".join(words[start : start + 4]) for start in (0, 3, 6, 9)}


def test_a_short_passage_is_one_chunk_with_unchanged_text() -> None:
    retrieval = fitted(Retrieval(chunk_words=50), corpus=(Passage("p", "two  spaces\nand a line"),))
    assert asked(retrieval, "spaces").passages[0].text == "two  spaces\nand a line"


def test_in_training_a_row_sees_neither_its_own_passage_nor_that_of_its_duplicate() -> None:
    train = tuple(
        Example(Question(name, text), (answer,))
        for name, text, answer in [
            ("a", "is it cold?", "yes"),
            ("b", "is  it cold?", "no"),
            ("c", "cold beer?", "beer"),
        ]
    )
    corpus = tuple(Passage(row.question.id, f"{row.question.text}\n{row.answers[0]}") for row in train)
    retrieval = fitted(Retrieval(language=None), corpus, train)
    shown = retrieval.show([row.question for row in train], training=True)
    assert [one.ids for one in shown] == [("c",), ("c",), ("a", "b")]
    assert set(retrieval.show([train[0].question])[0].ids) == {"a", "b", "c"}


def test_in_training_a_document_that_only_shares_a_row_s_id_is_still_shown() -> None:
    train = (Example(Question("1", "Who grants a building permit?"), ("the municipality",)),)
    retrieval = fitted(Retrieval(), (Passage("1", PASSAGES[0].text),), train)
    assert retrieval.show([train[0].question], training=True)[0].ids == ("1",)


def test_it_depends_on_the_corpus_only() -> None:
    assert Retrieval().reads == {"corpus"}


def test_faults_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Retrieval(k=0, retriever="dense", chunk_words=5, chunk_overlap=5, language="xx", k1=-1, b=2)
    keys = [fault.key for fault in caught.value.faults]
    assert keys == ["k", "embedder", "chunk_overlap", "language", "k1", "b"]
    with pytest.raises(ConfigError, match="did you mean 'dense'"):
        Retrieval(retriever="dens")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Retrieval(chunk_overlap=3)


def test_an_empty_corpus_is_an_error() -> None:
    with pytest.raises(DataError, match=r"dataset\.corpus"):
        fitted(Retrieval(), corpus=())


def test_xquad_s_gold_paragraph_is_among_the_first_five_for_97_percent(data_folder: Path) -> None:
    articles = json.loads((data_folder / "xquad_en" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    retrieval = Retrieval()
    corpus = tuple(Passage(str(number), paragraph["context"]) for number, paragraph in enumerate(paragraphs))
    retrieval.fit(TrainingData(Task("", Choice()), (), corpus=corpus), Resources())
    gold = {qa["id"]: str(number) for number, paragraph in enumerate(paragraphs) for qa in paragraph["qas"]}
    questions = [Question(qa["id"], qa["question"]) for paragraph in paragraphs for qa in paragraph["qas"]]
    shown = retrieval.show(questions)
    found = sum(gold[question.id] in one.ids for question, one in zip(questions, shown, strict=True))
    assert len(questions) == 1190
    assert found / len(questions) >= 0.97, found


FACTS = tuple(Passage(f"p{i}", f"The radiator of room {i} is on wall {i}.") for i in range(12))
KNOWN = tuple(
    Example(Question(f"t{i}", f"On which wall is radiator {i}?"), (f"wall {i}",), (f"p{i}",)) for i in range(12)
)


def trained_beside(retrieval: Retrieval, rows: tuple[Example, ...] = KNOWN) -> list[bool]:
    """For each training row, whether its gold passage is shown. Checks that at most k different passages are shown."""
    shown = retrieval.show([row.question for row in rows], training=True)
    assert all(len(each.ids) == len(set(each.ids)) <= retrieval.k for each in shown)
    return [row.gold[0] in each.ids for row, each in zip(rows, shown, strict=True)]


def test_the_share_of_training_rows_without_gold_sees_only_distractors() -> None:
    assert all(trained_beside(fitted(Retrieval(k=3, without_gold=0), FACTS, KNOWN)))
    assert not any(trained_beside(fitted(Retrieval(k=3, without_gold=1), FACTS, KNOWN)))
    many = tuple(
        Example(Question(f"m{i}", f"On which wall is radiator {i % 12}, please ({i})?"), ("x",), (f"p{i % 12}",))
        for i in range(300)
    )
    seen = trained_beside(fitted(Retrieval(k=3, without_gold=0.2), FACTS, many), many)
    assert 0.7 < sum(seen) / len(seen) < 0.9
    places = {each.ids.index(row.gold[0]) for row, each in zip(
        many, fitted(Retrieval(k=3, retriever="dense", embedder=ToyEmbedder(), without_gold=0), FACTS, many).show(
            [row.question for row in many], training=True), strict=True)}  # fmt: skip
    assert len(places) > 1


def test_questions_that_are_not_trained_on_see_the_retrieved_passages() -> None:
    plain, mixed = fitted(Retrieval(k=3), FACTS, KNOWN), fitted(Retrieval(k=3, without_gold=1), FACTS, KNOWN)
    questions = [row.question for row in KNOWN]
    assert plain.show(questions) == mixed.show(questions)
    alone = [mixed.show([question], training=True)[0] for question in questions]
    assert alone == mixed.show(questions, training=True)


def test_gold_is_used_only_if_configured() -> None:
    assert Retrieval().reads == {"corpus"}
    assert Retrieval(without_gold=0.2).reads == {"corpus", "gold"}
    with pytest.raises(DataError, match="known gold passages"):
        fitted(Retrieval(without_gold=0.2), FACTS, (Example(Question("t", "Where?"), ("here",)),))
    with pytest.raises(ConfigError, match="is not a share"):
        Retrieval(without_gold=1.5)
