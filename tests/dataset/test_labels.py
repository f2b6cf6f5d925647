"""Labels are normalised, labels that look alike are found, and an answer matches at most one label."""

from __future__ import annotations

import pytest

from stepladder.dataset.dataset import Dataset
from stepladder.dataset.labels import look_alikes, named_by, nearest, normalised
from stepladder.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("label", "normal"),
    [
        (" spam ", "spam"),
        ("spam\t\n", "spam"),
        ("\u00a0spam\u3000", "spam"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u1112\u1161\u11ab", "\ud55c"),
        ("credit  card", "credit  card"),
        ("\uff33pam", "\uff33pam"),
    ],
)
def test_labels_are_stripped_and_composed_and_nothing_else(label: str, normal: str) -> None:
    assert normalised(label) == normal


@pytest.mark.parametrize(
    ("labels", "difference"),
    [
        (["Spam", "spam", "SPAM"], "differ only in case"),
        (["stra\u00dfe", "STRASSE"], "differ only in case"),
        (["\u0130yi", "iyi"], "differ only in case"),
        (["\u0434\u0430", "\u0414\u0410"], "differ only in case"),
        (["1", "1.0", "01"], "are the same number"),
        (["1e0", "+1"], "are the same number"),
        (["0", "-0"], "are the same number"),
        (["1,000", "1000"], "are the same number"),
        (["1,5", "1.5"], "are the same number"),
        (["\uff11", "1"], "are the same number"),
        (["\u0661", "1"], "are the same number"),
        (["credit  card", "credit card"], "differ only in white space"),
        (["credit\u00a0card", "credit card"], "differ only in white space"),
        (["a\u200bb", "ab"], "differ only in invisible characters"),
        (["\ufeffab", "ab"], "differ only in invisible characters"),
        (["\uff33pam", "Spam"], "differ only in full-width or other compatibility characters"),
        (["spam.", "spam"], "differ only in punctuation"),
        (["\u662f\u3002", "\u662f"], "differ only in punctuation"),
        (["don't", "don\u2019t"], "differ only in punctuation"),
        (["credit-card", "credit_card"], "differ only in spaces, hyphens and underscores"),
        (["\u0441\u0430\u0440", "cap"], "have letters of different scripts that look the same"),
        (["\uff33PAM.", "spam"], "differ only in how they are written"),
    ],
)
def test_labels_that_look_alike_are_found(labels: list[str], difference: str) -> None:
    (group,) = look_alikes({"other": 1, **dict.fromkeys(labels, 3)})
    assert dict(group.counts) == dict.fromkeys(labels, 3)
    assert group.difference == difference


@pytest.mark.parametrize(
    "labels",
    [
        ["C", "C++", "C#"],
        ["1", "-1"],
        ["1", "10"],
        ["+", "-"],
        ["*", "**"],
        [":)", ":("],
        ["inf", "infinity"],
        ["12345678901234567890", "12345678901234567891"],
        ["\u306f", "\u3070"],
        ["resume", "r\u00e9sum\u00e9"],
    ],
)
def test_different_labels_are_not_reported_as_look_alikes(labels: list[str]) -> None:
    assert look_alikes(dict.fromkeys(labels, 1)) == []


def test_a_group_is_found_over_several_steps() -> None:
    (group,) = look_alikes(dict.fromkeys(["\u0412\u043e\u0440", "\u0432\u043e\u0440", "\u0432o\u0440"], 1))
    assert len(group.counts) == 3


@pytest.mark.parametrize(
    ("text", "labels", "found"),
    [
        ("spam", ["Spam", "spam"], "spam"),
        ("Spam", ["Spam", "spam"], "Spam"),
        (" Spam\n", ["Spam", "spam"], "Spam"),
        ("SPAM", ["spam", "ham"], "spam"),
        ("cafe\u0301", ["caf\u00e9", "bar"], "caf\u00e9"),
        ("CAFE\u0301", ["caf\u00e9", "bar"], "caf\u00e9"),
        ("SPAM", ["Spam", "spam"], None),
        ("eggs", ["Spam", "spam"], None),
        ("1.0", ["1", "0"], None),
    ],
)
def test_an_exact_match_takes_precedence_over_one_without_case(text: str, labels: list[str], found: str | None) -> None:
    label, failure = named_by(text, labels)
    assert label == found
    assert (failure is None) == (found is not None)


def test_the_failure_of_an_ambiguous_answer_names_the_labels() -> None:
    assert "Spam, spam" in str(named_by("SPAM", ["Spam", "spam"])[1])


def test_the_nearest_label_is_the_one_that_looks_alike() -> None:
    assert nearest("SPAM", ["ham", "spam"]) == "spam"
    assert nearest("eggs", ["ham", "spam"]) is None


def rows(*labels: str) -> list[dict[str, str]]:
    return [{"text": f"row {number} {label}", "label": label} for number, label in enumerate(labels * 6)]


def test_labels_are_normalised_in_every_split(write) -> None:  # type: ignore[no-untyped-def]
    loaded = Dataset(
        train=write("a.jsonl", rows("caf\u00e9", "bar ")),
        validation=write("b.jsonl", [{"text": "v", "label": "cafe\u0301 "}, {"text": "w", "label": "\tbar"}]),
        test=write("c.jsonl", [{"text": "t", "label": "\u00a0bar"}]),
        labels={" bar": "a place", "cafe\u0301": "another"},
        input="text",
        target="label",
    ).read()
    assert loaded.task.answer.labels == ("bar", "caf\u00e9")
    assert loaded.task.answer.definitions == {"bar": "a place", "caf\u00e9": "another"}
    assert {e.answers[0] for part in (loaded.train, loaded.validation, loaded.test) for e in part} == {
        "bar",
        "caf\u00e9",
    }
    assert loaded.label_counts()["bar"] == {"train": 6, "validation": 1, "test": 1}


def test_choices_of_a_row_are_normalised_and_look_alikes_among_them_counted(write) -> None:  # type: ignore[no-untyped-def]
    found = [
        {"text": "a", "label": "yes ", "own": ["yes", " no"]},
        {"text": "b", "label": "no", "own": '["No", "no"]'},
    ]
    loaded = Dataset(test=write("a.jsonl", found), input="text", target="label", choices="own").read()
    assert [e.question.choices for e in loaded.test] == [("yes", "no"), ("No", "no")]
    assert "1 row: some of its own choices differ only in how they are written (the first: a.jsonl, line 2)" in (
        loaded.accounts.notes
    )


def test_given_labels_that_become_equal_are_refused() -> None:
    with pytest.raises(ConfigError, match="two or more different labels"):
        Dataset(train="a.csv", input="text", target="label", labels=["spam", "spam "])


def test_a_label_without_a_visible_character_is_an_empty_target(write) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match="the target is empty"):
        Dataset(train=write("a.jsonl", rows("a", "\u200b")), input="text", target="label").read()


def test_an_unseen_label_is_compared_with_its_look_alike(write) -> None:  # type: ignore[no-untyped-def]
    train, test = write("a.jsonl", rows("spam", "ham")), write("b.jsonl", [{"text": "t", "label": "SPAM"}])
    with pytest.raises(DataError) as caught:
        Dataset(train=train, test=test, input="text", target="label").read()
    assert "did you mean 'spam'?" in str(caught.value)
