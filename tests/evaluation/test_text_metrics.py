"""Text metrics against values worked out by hand and the libraries' own."""

from unicodedata import normalize

import pytest
from sacrebleu import sentence_chrf

from stepladder.evaluation.metrics.text import ChrF, ExactMatch, RougeL, TokenF1, normalised
from stepladder.evaluation.statistics.estimates import Side


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
    answers = asked([said], [answer])
    assert Side(ExactMatch(), answers).value == exact
    assert Side(TokenF1(), answers).value == pytest.approx(f1)


def test_rouge_l_is_the_f_measure_of_the_longest_common_subsequence(asked):
    answers = asked(["police killed the gunman"], ["police kill the gunman now"])
    assert Side(RougeL(), answers).value == pytest.approx(2 * (3 / 4) * (3 / 5) / (3 / 4 + 3 / 5))


def test_chrf_is_sacrebleus_divided_by_a_hundred(asked):
    said, answer = "the cat sat on a mat", "the cat is on the mat"
    assert Side(ChrF(), asked([said], [answer])).value == pytest.approx(sentence_chrf(said, [answer]).score / 100)
    assert Side(ChrF(), asked([answer], [answer])).value == pytest.approx(1)


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1(), RougeL(), ChrF()])
def test_the_best_answer_counts_and_a_failure_is_zero(asked, metric):
    assert Side(metric, asked(["green tea"], [("coffee", "green tea")])).value == pytest.approx(1)
    assert Side(metric, asked([None], ["no idea"])).value == 0


ANSWERS = [
    "Москва — столица России.", "Η Αθήνα είναι η πρωτεύουσα", "القاهرة هي عاصمة مصر؟", "नई दिल्ली भारत की राजधानी है।",
    "กรุงเทพมหานครเป็นเมืองหลวง", "北京是中国的首都。", "東京は日本の首都です。コンピューター",
    "서울은 대한민국의 수도이다",
    "İstanbul Türkiye'nin en büyük şehri", "Le café à la crème brûlée", "ירושלים היא בירת ישראל", "សៀមរាបមានប្រាសាទ",
    "သည် မြို့တော်ဖြစ်သည်", "ວຽງຈັນເປັນນະຄອນຫຼວງ", "ঢাকা বাংলাদেশের রাজধানী", "Hà Nội là thủ đô", "می‌خواهم بروم", "👍",
]  # fmt: skip


@pytest.mark.parametrize("metric", [ExactMatch(), TokenF1(), RougeL(), ChrF()])
@pytest.mark.parametrize("answer", ANSWERS)
def test_equal_texts_agree_in_every_script_and_normal_form(metric, answer):
    said, wanted = normalize("NFD", answer), normalize("NFC", answer)
    assert metric.agreement(said, wanted) == pytest.approx(1)
    assert metric.agreement("xqw", wanted) == 0


@pytest.mark.parametrize(
    ("said", "answer", "f1", "rouge"),
    [
        ("столица Москва", "Москва", 2 / 3, 2 / 3),
        ("北京市", "北京", 4 / 5, 4 / 5),  # every character is a word
        ("दिल्ली शहर", "दिल्ली", 2 / 3, 2 / 3),  # vowel signs stay with their letter
        ("café noir", "cafe noir", 1 / 2, 1 / 2),
        ("don't", "don't stop", 2 / 3, 4 / 5),  # SQuAD: dont; rouge-score: don, t
    ],
)
def test_parts_of_answers_in_every_script(said, answer, f1, rouge):
    assert TokenF1().agreement(said, answer) == pytest.approx(f1)
    assert RougeL().agreement(said, answer) == pytest.approx(rouge)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("ИСТАНБУЛ!", "истанбул"),
        ("İSTANBUL", "istanbul"),
        ("「東京」", "東京"),
        ("“Paris”", "paris"),
        ("a\u00adb", "ab"),
    ],
)
def test_case_and_punctuation_of_every_script_do_not_count(said, answer):
    assert ExactMatch().agreement(said, answer) == 1


def test_rouge_l_of_english_is_that_of_rouge_score():
    from rouge_score.rouge_scorer import RougeScorer

    said, answer = "The state-of-the-art isn't snake_case: 3.5 %", "A state of the art is snake case, 35 %"
    theirs = RougeScorer(["rougeL"]).score(answer, said)["rougeL"].fmeasure
    assert RougeL().agreement(said, answer) == pytest.approx(theirs)
