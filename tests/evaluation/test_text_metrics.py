"""Text metrics against values worked out by hand and the libraries' own."""

import pytest
from sacrebleu import sentence_chrf

from stepladder.evaluation.estimates import Side
from stepladder.evaluation.text_metrics import ChrF, ExactMatch, RougeL, TokenF1, normalised


def test_normal_form_is_squads():
    assert normalised("  The  Quick, brown\tfox! A an ") == "quick brown fox"
    assert normalised("theatre") == "theatre"


@pytest.mark.parametrize(
    ("said", "answer", "exact", "f1"),
    [
        ("The Eiffel Tower.", "eiffel tower", 1, 1),
        ("in Paris, France", "Paris", 0, 2 / 4),
        ("a b b c", "b c c", 0, 2 * 2 / (3 + 3)),  # 'a' is an article
        ("", "the", 1, 1),
        ("", "Paris", 0, 0),
    ],
)
def test_exact_match_and_token_f1(asked, said, answer, exact, f1):
    answered = asked([said], [answer])
    assert Side(ExactMatch(), answered).value == exact
    assert Side(TokenF1(), answered).value == pytest.approx(f1)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence(asked):
    answered = asked(["police killed the gunman"], ["police kill the gunman now"])
    assert Side(RougeL(), answered).value == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_chrf_is_sacrebleus_divided_by_a_hundred(asked):
    said, answer = "the cat sat on a mat", "the cat is on the mat"
    assert Side(ChrF(), asked([said], [answer])).value == pytest.approx(sentence_chrf(said, [answer]).score / 100)
    assert Side(ChrF(), asked([answer], [answer])).value == pytest.approx(1)


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1(), RougeL(), ChrF()])
def test_the_best_answer_counts_and_a_failure_is_zero(asked, metric):
    assert Side(metric, asked(["green tea"], [("coffee", "green tea")])).value == pytest.approx(1)
    assert Side(metric, asked([None], ["no idea"])).value == 0
