"""Perturbations: seeded, harmless to words that must stay, and each really does what it says."""

from __future__ import annotations

from random import Random

import pytest

from stepladder.evaluation.suites.perturbations import PERTURBATIONS, contractions, punctuation, typos
from stepladder.types import Question

TEXTS = [
    "Why is my card payment of 12.50 not working?",
    "i am sure that it is broken",
    "HELP",
    "ok.",
    "Où est la gare ?",
    "1234 5678",
    "?!",
    "a  b\tc\n",
    "I cannot say whether they are here; it's late.",
]


def written(name: str, text: str, seed: int = 0, id_: str = "q") -> str:
    return PERTURBATIONS[name].of(Question(id_, text), name, seed).text


@pytest.mark.parametrize("name", PERTURBATIONS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_same_seed_writes_the_same_and_nothing_is_lost(name: str, text: str) -> None:
    assert written(name, text) == written(name, text)
    assert written(name, text).strip()
    digits = [c for c in text if c.isdigit()]
    assert [c for c in written(name, text) if c.isdigit()] == digits
    if PERTURBATIONS[name].verbatim:
        assert text.rstrip().rstrip(".?!") in written(name, text)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_another_seed_or_question_writes_something_else_and_a_whole_text_is_changed(name: str) -> None:
    text = "I am asking you about the radiator in the kitchen because it does not work any more."
    found = {written(name, text, seed, id_) for seed in range(20) for id_ in "abc"}
    assert text not in found
    assert len(found) > 1 or name == "contractions"


def test_typos_touch_few_words_and_only_inside() -> None:
    text = " ".join(f"word{'abcdefgh'[i % 8]}{'xyz'[i % 3]}" for i in range(80))
    for seed in range(10):
        pairs = zip(text.split(), typos(text, Random(seed)).split(), strict=True)
        changed = [(one, two) for one, two in pairs if one != two]
        assert 1 <= len(changed) <= 10
        assert all(one[0] == two[0] and abs(len(one) - len(two)) <= 1 for one, two in changed)
    assert typos("I am ok 123456", Random(0)) == "I am ok 123456"


def test_contractions_go_both_ways_and_keep_the_first_letter_s_case() -> None:
    assert contractions("I am late. It's me, you don't say", Random(0)) == "I'm late. It is me, you do not say"
    assert contractions("Cannot is no scannot", Random(0)) == "Can't is no scannot"


def test_punctuation_changes_the_end_alone() -> None:
    ends = {punctuation("Where is 1.5?", Random(seed)) for seed in range(20)}
    assert ends == {"Where is 1.5", "Where is 1.5???"}
    assert punctuation("?!", Random(0)) == "?!"


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_question_keeps_all_but_its_text(name: str) -> None:
    question = Question("q", "Is it ok?", (), "You are kind.", ("yes", "no"), "g", {"tag": "x"})
    changed = PERTURBATIONS[name].of(question, name, 0)
    assert (changed.id, changed.system, changed.choices, changed.group, changed.tags) == (
        "q", "You are kind.", ("yes", "no"), "g", {"tag": "x"},
    )  # fmt: skip
