"""The main suite of a run, and the run's answers to the main request."""

from __future__ import annotations

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.suite import MetricSuite
from stepladder.runs.question_scores import stored_statistics
from stepladder.runs.run import Run


def main_suite(run: Run) -> MetricSuite:
    """The suite that has the main metric."""
    suite = next(iter(run.prepared.suites.values())).object
    assert isinstance(suite, MetricSuite)
    return suite


def main_answers(run: Run) -> Answers:
    """The run's answers to the main request, with the statistics that its scores have."""
    suite, examples = next(iter(run.prepared.suites)), run.prepared.examples
    ids = [example.question.id for example in examples]
    statistics = stored_statistics(run.score.folder, suite, main_suite(run).metrics, ids)
    return Answers(run.prepared.main, run.main, examples, statistics)
