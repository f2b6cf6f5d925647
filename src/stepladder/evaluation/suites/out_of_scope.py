"""The suite `out_of_scope`: does confidence separate questions that no label fits from the others?

The threshold is fitted on validation rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stepladder.errors import Fault, require
from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.requests import EvalBatch, EvalInputs, demand_probabilities, unfit
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import Details, SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import figure_table, mean, resampled, row_values
from stepladder.evaluation.tables import Curves, Table, TableCell
from stepladder.types import Example


@dataclass(frozen=True)
class OutOfScope:
    """A question counts as out of scope where the confidence of its answer is below a threshold.

    Args:
        keep: The share of the validation rows, which are all in scope, that the threshold accepts.
        errors: How many of the most confident answers to out-of-scope questions are listed.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = "choice"

    keep: float = 0.95
    errors: int = 20

    def __post_init__(self) -> None:
        require(
            (0 < self.keep <= 1, Fault("keep", f"{self.keep} is not a share", "give more than 0 and at most 1")),
            (self.errors >= 0, Fault("errors", f"{self.errors} answers cannot be shown", "give at least 0")),
        )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        demand_probabilities(inputs, alone=True)
        if inputs.rows == "validation":
            return (inputs.plain,)
        if not inputs.out_of_scope:
            raise unfit("the dataset has no rows that belong to no label", "give dataset.out_of_scope=FILE")
        if any(q.choices for q in inputs.main.questions):
            raise unfit("every question brings its own choices, so no label is common to all", "leave the suite out")
        strange = tuple(Example(question, ()) for question in inputs.out_of_scope)
        held = (inputs.ask("validation", inputs.validation),) if inputs.validation else ()
        return (inputs.plain, inputs.ask("out_of_scope", strange), *held)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        main, strange, held = answers["main"], answers.get("out_of_scope"), answers.get("validation")
        accuracy = mean(row_values(main), main.clusters(), seed)
        if strange is None:
            left_out = {"out_of_scope": "validation rows are asked alone"}
            return SuiteScores({"in_scope_accuracy": accuracy}, details={"left_out": left_out})
        inside, outside = confidences(main), confidences(strange)
        both, known = np.concatenate([inside, outside]), np.repeat([1.0, 0.0], [len(inside), len(outside)])
        area = resampled(
            lambda i: auroc(both[i], known[i]), len(both), clusters_of([*main.examples, *strange.examples]), seed
        )
        metrics = {"auroc": area, "in_scope_accuracy": accuracy}
        details: Details = {"questions": len(outside), "left_out": {}, "threshold": None}
        note = ""
        if held is None:
            details["left_out"]["threshold"] = "there are no validation rows to take it from"
        else:
            threshold = threshold_of(confidences(held), self.keep)
            details |= {"threshold": threshold, "threshold_rows": len(held.ids)}
            metrics |= _at(threshold, main, strange, seed)
            note = f"Threshold {threshold:.4g}, from {len(held.ids)} validation rows."
        table = figure_table("Out-of-scope questions", metrics, note)
        lines = question_scores("out_of_scope_confidence", strange.ids, outside)
        tables = (table, _curve(inside, outside), self._accepted(strange, outside))
        return SuiteScores(metrics, tuple(lines), details, tables)

    def _accepted(self, strange: Answers, confidence: Floats) -> Table:
        order = sorted(range(len(confidence)), key=lambda i: (-confidence[i], strange.ids[i]))
        rows: list[list[TableCell]] = [
            [strange.ids[i], strange.examples[i].question.text, strange.predictions[i].text, float(confidence[i])]
            for i in order[: self.errors]
        ]
        columns = ("id", "question", "predicted", "confidence")
        return Table("Most confident answers to out-of-scope questions", columns, rows)


def confidences(answers: Answers) -> Floats:
    """The probability of each answer, 0 for a failure, shape (n,)."""
    return np.array(
        [max(p.probabilities.values()) if p.probabilities and not p.failure else 0.0 for p in answers.predictions]
    )


def auroc(score: Floats, positive: Floats) -> float:
    """The area under the ROC curve: the chance that a positive scores above a negative, ties counting half."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    ranks = rankdata(score)[positive > 0].sum()
    return float((ranks - n * (n + 1) / 2) / (n * (len(positive) - n)))


def threshold_of(confidence: Floats, keep: float) -> float:
    """The greatest threshold that at least `keep` of these confidences reach."""
    ordered = np.sort(confidence)[::-1]
    return float(ordered[int(np.ceil(keep * len(ordered) - 1e-9)) - 1])


def _at(threshold: float, main: Answers, strange: Answers, seed: int) -> dict[str, Measured]:
    inside, outside = confidences(main), confidences(strange)
    kept, right = inside >= threshold, row_values(main)
    found = {
        "recall": mean((outside < threshold).astype(np.float64), strange.clusters(), seed),
        "in_scope_kept": mean(kept.astype(np.float64), main.clusters(), seed),
        "in_scope_accuracy_with_rejection": mean(right * kept, main.clusters(), seed),
    }
    if kept.any():
        found["accuracy_of_kept"] = mean(right[kept], clusters_of(main.examples, kept), seed)
    return found


def _curve(inside: Floats, outside: Floats) -> Curves:
    """For every threshold, the share of in-scope and of out-of-scope questions that are rejected."""
    edges = np.unique(np.quantile(np.concatenate([inside, outside]), np.linspace(0, 1, 101)))
    points = [(float(np.mean(inside < edge)), float(np.mean(outside < edge))) for edge in edges]
    x, y = "share of questions in scope turned away", "share out of scope turned away"
    return Curves("Rejecting questions", x, y, {"threshold": [*points, (1.0, 1.0)]}, diagonal=True)
