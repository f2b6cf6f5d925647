"""Confusion tables of choice tasks."""

from __future__ import annotations

from collections import Counter

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import label_pair
from stepladder.evaluation.tables import Table, TableCell
from stepladder.types import Choice

FEW = 12  # labels that a whole matrix has room for
LISTED = 20
NO_ANSWER = "(no answer)"


def confusion(answers: Answers) -> list[Table]:
    """The confusion matrix where there are few labels, and the most frequent mistakes; empty without shared labels."""
    if not isinstance(answers.request.task.answer, Choice) or not answers.request.task.answer.labels:
        return []
    pairs = Counter(
        (expected, NO_ANSWER if predicted is None else predicted)
        for expected, predicted in map(label_pair, answers.predictions, answers.examples)
    )
    labels = answers.request.task.answer.labels
    tables = []
    if len(labels) <= FEW:
        columns = [*labels, *([NO_ANSWER] if any(said == NO_ANSWER for _, said in pairs) else [])]
        rows: list[list[TableCell]] = [[label, *(pairs[label, said] for said in columns)] for label in labels]
        tables.append(Table("Confusion", ["expected", *(f"predicted {label}" for label in columns)], rows))
    wrong = [(count, expected, said) for (expected, said), count in pairs.items() if expected != said]
    expected_in_all = Counter[str]()
    for (expected, _), count in pairs.items():
        expected_in_all[expected] += count
    worst = sorted(wrong, key=lambda found: (-found[0], found[1], found[2]))[:LISTED]
    listed: list[list[TableCell]] = [
        [expected, said, count, expected_in_all[expected]] for count, expected, said in worst
    ]
    note = f"{sum(count for count, _, _ in wrong)} mistakes in total" + (
        f", the {LISTED} most frequent pairs shown." if len(wrong) > LISTED else "."
    )
    return [
        *tables,
        Table("Most frequent mistakes", ["expected", "predicted", "count", "rows with that label"], listed, note),
    ]
