"""What is taken for what, counted."""

from stepladder.evaluation.metrics.confusion import NO_ANSWER, confusion
from stepladder.types import Choice, Text


def test_few_labels_have_a_matrix_and_mistakes_are_listed_by_number(asked):
    said, wanted = ["a", "b", "b", None, "b", "a"], ["a", "a", "a", "b", "b", "c"]
    matrix, mistakes = confusion(asked(said, wanted, Choice(("a", "b", "c"))))
    assert matrix.columns == ["expected", "predicted a", "predicted b", "predicted c", f"predicted {NO_ANSWER}"]
    assert matrix.rows == [["a", 1, 2, 0, 0], ["b", 0, 1, 0, 1], ["c", 1, 0, 0, 0]]
    assert mistakes.rows == [["a", "b", 2, 3], ["b", NO_ANSWER, 1, 2], ["c", "a", 1, 1]]
    assert mistakes.note == "4 mistakes in total."


def test_many_labels_have_no_matrix_and_texts_have_nothing(asked):
    labels = tuple(f"l{i}" for i in range(13))
    assert [table.title for table in confusion(asked(["l0"], ["l1"], Choice(labels)))] == ["Most frequent mistakes"]
    assert confusion(asked(["x"], ["x"], Text())) == []
    assert confusion(asked(["x"], ["x"], Choice())) == []
