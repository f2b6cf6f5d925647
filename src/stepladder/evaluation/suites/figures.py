"""Figures with intervals from one value per row: means, paired changes and other statistics of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Accuracy, Floats, Metric, numbers_of, question_values
from stepladder.evaluation.metrics.json_fields import FieldF1, NotJsonError, parsed
from stepladder.evaluation.metrics.text import TokenF1
from stepladder.evaluation.statistics.closed_form import detectable_of, mcnemar, wilson
from stepladder.evaluation.statistics.estimates import (
    Difference,
    Measured,
    discordant,
    drawn_bounds,
    drawn_interval,
    paired_bounds,
)
from stepladder.evaluation.statistics.resampling import (
    Clusters,
    bootstrap_picks,
    bootstrap_sums,
    permutation_p,
    units_of,
    widened,
)
from stepladder.evaluation.suites.gaps import Gap
from stepladder.evaluation.tables import Table, TableCell
from stepladder.types import Prediction, Task

PICKED_DRAWS = 1000


def metric_for(task: Task) -> Metric:
    """The metric of a single answer, by the kind of the task: accuracy, token F1 or field F1."""
    metrics: dict[str, Metric] = {"choice": Accuracy(), "text": TokenF1(), "json": FieldF1()}
    return metrics[task.kind]


def row_values(answers: Answers, metric: Metric | None = None) -> Floats:
    """Each answer's own value, shape (n,)."""
    metric = metric_for(answers.request.task) if metric is None else metric
    if not answers.ids:
        return np.empty(0)
    numbers = numbers_of(metric, answers.predictions, answers.examples, answers.request.task)
    found = question_values(metric, numbers)
    assert found is not None, "a suite's metric has a value for every question"
    return found


def mean(values: Floats, clusters: Clusters | None, seed: int) -> Measured:
    """The mean of values from 0 to 1: with Wilson's interval for a share of independent rows, else a bootstrap's."""
    n = len(values)
    value = float(values.mean())
    if clusters is None and _is_share(values):
        low, high = wilson(float(values.sum()), n)
    else:
        sums = bootstrap_sums(np.stack([values, np.ones(n)], axis=1), clusters, seed)
        low, high = drawn_interval(sums[:, 0] / sums[:, 1], value, units_of(n, clusters))
    return Measured(value, max(0.0, min(low, value)), min(1.0, max(high, value)), n)


def change(ours: Floats, theirs: Floats, clusters: Clusters | None, seed: int) -> Difference:
    """Ours minus theirs over the same rows, values from 0 to 1: interval, p-value, wins and losses.

    McNemar's exact test for right and wrong of independent rows, else a permutation of the two sides.
    """
    n, gaps = len(ours), ours - theirs
    value = float(gaps.mean())
    wins, losses = discordant(ours, theirs)
    units = units_of(n, clusters)
    if clusters is None and _is_share(ours) and _is_share(theirs):
        (low, at_least, high), p = paired_bounds(wins, losses, n), mcnemar(wins, losses)
    elif wins == losses == 0:
        (low, at_least, high), p = paired_bounds(0, 0, units), 1.0
    else:
        ones = np.ones(n)
        sums = bootstrap_sums(np.stack([gaps, ones], axis=1), clusters, seed)
        low, at_least, high = drawn_bounds(widened(sums[:, 0] / sums[:, 1], units), value, units)
        sides = np.stack([ours, ones], axis=1), np.stack([theirs, ones], axis=1)
        p = permutation_p(*sides, lambda summed: summed[..., 0] / summed[..., 1], clusters, seed)
    detectable = min(1.0, detectable_of((high - low) / 2))
    return Difference(value, min(low, value), max(high, value), min(at_least, value), p, n, wins, losses, detectable)


def resampled(
    statistic: Callable[[NDArray[np.intp]], float],
    n: int,
    clusters: Clusters | None,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Measured:
    """`statistic(rows)` of all rows, with the interval that drawing rows again gives; `rows` are places, repeated.
    Draws that give NaN do not count."""
    value = statistic(np.arange(n))
    picks = bootstrap_picks(n, clusters, seed, PICKED_DRAWS)
    draws = np.array([drawn for rows in picks if not np.isnan(drawn := statistic(rows))])
    if len(draws) < PICKED_DRAWS / 2:
        return Measured(value, *bounds, n)
    low, high = drawn_interval(draws, value, units_of(n, clusters), bounds)
    return Measured(value, min(max(bounds[0], low), value), max(min(bounds[1], high), value), n)


def reflected(draws: Floats, value: float) -> tuple[float, float]:
    """The 95% interval of `value` from its draws, their quantiles reflected at it (Davison and Hinkley 1997)."""
    low, high = np.quantile(draws, [0.025, 0.975])
    return 2 * value - float(high), 2 * value - float(low)


def as_measured(found: Difference | Gap) -> Measured:
    """A difference as a measured value."""
    return Measured(found.value, found.low, found.high, found.n)


def same_answer(one: Prediction, other: Prediction) -> bool:
    """Whether two answers are the same: both failed, or the same text, or the same JSON value."""
    if (one.failure is None) != (other.failure is None):
        return False
    if one.text.strip() == other.text.strip():
        return True
    if one.failure is not None or not all(text.strip().startswith(("{", "[")) for text in (one.text, other.text)):
        return False
    try:
        return bool(parsed(one.text) == parsed(other.text))
    except NotJsonError:
        return False


def with_interval(measured: Measured | Difference, form: str = "{:.3f}") -> str:
    """`0.812 [0.790, 0.834]`, for the cells of tables."""
    return f"{form} [{form}, {form}]".format(*(x + 0.0 for x in (measured.value, measured.low, measured.high)))


def figure_table(title: str, metrics: Mapping[str, Measured], note: str) -> Table:
    """A line for each figure."""
    rows: list[list[TableCell]] = [[name, with_interval(figure), figure.n] for name, figure in metrics.items()]
    return Table(title, ("figure", "value", "questions"), rows, note)


def _is_share(values: Floats) -> bool:
    return bool(np.all((values == 0) | (values == 1)))
