"""Choice metrics against scikit-learn, and metrics of one's own."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from stepladder.errors import ConfigError, DataError, UserError
from stepladder.evaluation.metrics.choice import Accuracy, MacroF1, Mean, Metric, NotDefinedError
from stepladder.evaluation.statistics.estimates import Side
from stepladder.types import Choice

LABELS = ("a", "b", "c", "never")


@pytest.fixture
def confused(asked):
    generator = np.random.default_rng(3)
    gold = [LABELS[i] for i in generator.integers(3, size=200)]
    said = [g if generator.random() < 0.6 else LABELS[generator.integers(3)] for g in gold]
    return asked(said, gold, Choice(LABELS)), said, gold


def test_accuracy_and_macro_f1_equal_scikit_learn(confused):
    answers, said, gold = confused
    assert Side(Accuracy(), answers).value == pytest.approx(accuracy_score(gold, said))
    assert Side(MacroF1(), answers).value == pytest.approx(f1_score(gold, said, average="macro"))


def test_a_failure_is_wrong_and_no_label(asked):
    answers = asked(["a", None, "b"], ["a", "a", "b"], Choice(("a", "b")))
    assert Side(Accuracy(), answers).value == pytest.approx(2 / 3)
    assert Side(MacroF1(), answers).value == pytest.approx((2 / 3 + 1) / 2)


def test_a_failure_is_wrong_even_when_its_text_would_be_right(asked):
    answers = asked([None], ["no idea"], Choice(("no idea",)))
    assert Side(Accuracy(), answers).value == 0
    assert Side(Mean(lambda prediction, example: 1.0), answers).value == 0


def test_any_answer_that_counts_is_right(asked):
    answers = asked(["b", "c"], [("a", "b"), ("a", "b")], Choice(LABELS))
    assert Side(Accuracy(), answers).value == 0.5
    assert Side(MacroF1(), answers).value == pytest.approx((0 + 1 + 0) / 3)


def test_macro_f1_is_not_defined_without_shared_labels(asked):
    with pytest.raises(NotDefinedError, match="own choices"):
        Side(MacroF1(), asked(["a"], ["a"], Choice()))


def test_an_answer_outside_the_labels_is_an_error_that_names_the_question(asked):
    with pytest.raises(DataError, match="'zzz' is none of the task's labels") as caught:
        Side(MacroF1(), asked(["a"], ["zzz"], Choice(LABELS)))
    assert "q0" in caught.value.where


def test_a_function_of_ones_own_is_a_metric(asked):
    short = Mean(lambda prediction, example: float(len(prediction.text) < 3))
    assert isinstance(short, Metric)
    assert Side(short, asked(["ab", "abcdef"], ["x", "y"])).value == 0.5


def test_a_class_with_the_two_methods_is_a_metric(asked):
    class Ratio:
        def statistics(self, prediction, example, task):
            return (len(example.answers[0]), len(prediction.text))

        def fold(self, sums):
            return sums[..., 0] / sums[..., 1]

    assert Side(Ratio(), asked(["ab", "abcd"], ["a", "ab"])).value == 0.5


def test_a_metric_outside_zero_and_one_or_of_a_wrong_shape_is_refused(asked):
    class Wrong(Accuracy):
        def fold(self, sums):
            return sums.sum()

    with pytest.raises(UserError, match="gives 7, which is not between 0 and 1"):
        Side(Mean(lambda prediction, example: 7.0), asked(["a"], ["a"]))
    with pytest.raises(UserError, match="nan"):
        Side(Mean(lambda prediction, example: float("nan")), asked(["a"], ["a"]))
    with pytest.raises(UserError, match="fold the last axis only"):
        Side(Wrong(), asked(["a"], ["a"]))
    with pytest.raises(ConfigError, match="cannot be called"):
        Mean("package.function")
