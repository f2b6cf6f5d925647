"""The file per_question.jsonl of stored scores: the score of each question, by suite and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stepladder.errors import StoreError
from stepladder.evaluation.metrics.choice import Floats, Metric, is_mean
from stepladder.evaluation.suite import QuestionScore, SuiteScores
from stepladder.io.files import read_lines, write_lines
from stepladder.io.serialise import from_plain, to_plain

PER_QUESTION = "per_question.jsonl"


def write_question_scores(folder: Path, scored: Mapping[str, SuiteScores]) -> None:
    lines = ({**to_plain(each), "suite": suite} for suite, scores in scored.items() for each in scores.per_question)
    write_lines(folder / PER_QUESTION, lines)


def stored_statistics(folder: Path, suite: str, metrics: Mapping[str, Metric], ids: Sequence[str]) -> dict[str, Floats]:
    """The statistics of each question, shape (n, d), by metric, in the order of `ids`.

    A metric is left out where the file does not have it for every question: scores of earlier versions have the values
    of the questions only, which is enough for means.
    """
    try:
        file = folder / PER_QUESTION
        read = [from_plain(QuestionScore, line, str(file)) for line in read_lines(file) if line.get("suite") == suite]
        scores = {(each.metric, each.id): each for each in read}
    except (StoreError, OSError, ValueError, RecursionError):
        return {}  # the scores of questions are computed from the predictions then
    found = {}
    for name, metric in metrics.items():
        rows = [_statistics(metric, scores.get((name, id_))) for id_ in ids]
        known = [row for row in rows if row is not None]
        if len(known) == len(rows):
            found[name] = np.array(known, dtype=np.float64)
    return found


def _statistics(metric: Metric, score: QuestionScore | None) -> list[float] | None:
    if score is None:
        return None
    if is_mean(metric):
        return None if score.value is None else [score.value, 1.0]
    return None if score.statistics is None else score.statistics.whole()
