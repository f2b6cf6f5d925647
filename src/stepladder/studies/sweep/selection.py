"""What a search selected: the luck that selection alone would give, and the winner against the plain prompt on test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Metric, is_mean
from stepladder.evaluation.statistics.estimates import Side, difference, measured
from stepladder.evaluation.statistics.luck import Luck, expected_luck
from stepladder.runs.run import Run
from stepladder.store.identity import digest
from stepladder.studies.answered import main_answers, main_suite
from stepladder.studies.sweep.objectives import Objective
from stepladder.studies.sweep.results import PlainOnTest, Trial
from stepladder.types import Example

DIGITS = 6


def question_scores(run: Run, objective: Objective) -> list[float] | None:
    """The score of each validation row, in the order of their sorted ids; None where the objective has none."""
    if not objective.main:
        return None
    metric = main_suite(run).metrics[objective.name]
    return scores_of(metric, main_answers(run), objective.name)


def scores_of(metric: Metric, answers: Answers, name: str = "") -> list[float] | None:
    """The score of each question, in the order of their sorted ids; None for a metric that is not their mean."""
    values = Side(metric, answers, name).by_question if is_mean(metric) else None
    return None if values is None else [round(float(value), DIGITS) for value in values]


def luck_of(trials: Sequence[Trial], examples: Sequence[Example], study: str) -> Luck | None:
    """The luck of the best of the finished trials; None where the scores of their questions are not known.

    Args:
        trials: All trials of the study.
        examples: The validation rows.
        study: Its name, which seeds the permutations.
    """
    examples = sorted(examples, key=lambda example: example.question.id)
    finished = [t for t in trials if t.state == "complete"]
    if len(finished) < 2 or any(len(t.question_scores) != len(examples) for t in finished):
        return None
    scores = np.array([t.question_scores for t in finished], dtype=np.float64)
    return expected_luck(scores, clusters_of(examples), _seed(study))


def plain_on_test(winner: Run, plain: Run, study: str) -> PlainOnTest:
    """The plain prompt on the test rows, and the paired difference of the winner to it, in the main metric."""
    suite = main_suite(winner)
    name = suite.main or next(iter(suite.metrics))
    return against_plain(suite.metrics[name], main_answers(winner), main_answers(plain), name, _seed(study))


def against_plain(metric: Metric, winner: Answers, plain: Answers, name: str, seed: int) -> PlainOnTest:
    """The scores of both on the same test rows, and the test of their difference."""
    ours, theirs = Side(metric, winner, name), Side(metric, plain, name)
    gap = difference(ours, theirs, seed)
    return PlainOnTest(name, measured(ours, seed), measured(theirs, seed), gap, gap.better)


def _seed(study: str) -> int:
    return int(digest(study)[:8], 16)
