"""The suite `robustness`: do perturbed questions or other prompt formats of the same meaning change the answers?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from stepladder.errors import ConfigError, Fault, did_you_mean, require
from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.requests import EvalBatch, EvalInputs, chosen, rows_rule
from stepladder.evaluation.statistics.closed_form import holm, wilson
from stepladder.evaluation.statistics.estimates import Difference, Measured
from stepladder.evaluation.statistics.resampling import Clusters, bootstrap_sums
from stepladder.evaluation.suite import QuestionScore, SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import (
    as_measured,
    change,
    mean,
    metric_for,
    reflected,
    row_values,
    same_answer,
    with_interval,
)
from stepladder.evaluation.suites.perturbations import PERTURBATIONS
from stepladder.evaluation.tables import Drawing, Table, TableCell
from stepladder.types import Example, Format, Prediction, PromptOverride, Task

SHOWN = 20


@dataclass(frozen=True)
class Robustness:
    """Every question again under each perturbation and in each prompt format.

    Args:
        perturbations: Names of perturbations.
        formats: Prompt formats by name.
        rows: At most so many questions, chosen by their ids; None takes all.
        seed: Of the perturbations, the same for every method and every seed of a comparison.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = None

    perturbations: Sequence[str] = tuple(PERTURBATIONS)
    formats: Mapping[str, Mapping[str, str]] | None = None
    rows: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        known = list(PERTURBATIONS)
        unknown = [name for name in self.perturbations if name not in known]
        nothing = Fault("perturbations", "there is nothing to change", "name perturbations, or formats")
        wrong = []
        for name, words in (self.formats or {}).items():
            try:
                Format(**words)
            except (ConfigError, TypeError) as error:
                wrong.append(Fault(f"formats.{name}", str(error).splitlines()[0], "give instruction and question"))
        require(
            *((False, Fault("perturbations", f"'{n}' is unknown", did_you_mean(n, known))) for n in unknown),
            rows_rule(self.rows),
            (bool(self.perturbations or self.formats), nothing),
            *((False, fault) for fault in wrong),
        )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        return (inputs.plain, *self._perturbed(inputs), *self._formatted(inputs))

    def _perturbed(self, inputs: EvalInputs) -> Iterator[EvalBatch]:
        chosen = self._chosen(inputs.examples)
        for name in self._fitting(inputs.main.task):
            batch = [(e, PERTURBATIONS[name].of(e.question, name, self.seed)) for e in chosen]
            changed = [replace(e, question=question) for e, question in batch if question != e.question]
            if changed:
                yield inputs.ask(f"perturbed.{name}", changed)

    def _formatted(self, inputs: EvalInputs) -> Iterator[EvalBatch]:
        if inputs.prompted:
            for name, words in (self.formats or {}).items():
                override = PromptOverride(format=Format(**words))
                yield inputs.ask(f"format.{name}", self._chosen(inputs.examples), override)

    def _fitting(self, task: Task) -> list[str]:
        """The perturbations for the task: an answer to a json task quotes the question, so its words must stay."""
        return [name for name in self.perturbations if task.kind != "json" or PERTURBATIONS[name].verbatim]

    def _chosen(self, examples: Sequence[Example]) -> list[Example]:
        return chosen(examples, self.rows, self.seed)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        plain = Rows.of(answers["main"], self._chosen(answers["main"].examples))
        others = {name: plain.changed_by(each) for name, each in answers.items() if name != "main"}
        perturbed = {n.removeprefix("perturbed."): r for n, r in others.items() if n.startswith("perturbed.")}
        formatted = {n.removeprefix("format."): r for n, r in others.items() if n.startswith("format.")}
        metrics = {"plain": mean(plain.values, plain.clusters, seed)}
        lines: list[QuestionScore] = []
        tables: list[Drawing] = []
        if perturbed:
            values = _perturbed_values(plain, list(perturbed.values()))
            figures = {name: mean(each, plain.clusters, seed) for name, each in values.items()}
            drop = as_measured(change(plain.values, values["perturbed"], plain.clusters, seed))
            metrics |= {"perturbed": figures["perturbed"], "drop": drop, **figures}
            for name in ("worst_case", "unchanged"):
                lines += question_scores(name, plain.ids, values[name])
            tables += [_table("Perturbations", plain, perturbed, seed), _broken(plain, perturbed)]
        if formatted:
            metrics |= _format_figures(plain, list(formatted.values()), seed)
            tables.append(_table("Prompt formats", plain, formatted, seed))
        left_out = self._left_out(answers["main"].request.task, perturbed, formatted)
        details = {"left_out": left_out, "metric": type(metric_for(answers["main"].request.task)).__name__}
        return SuiteScores(metrics, tuple(lines), details, tuple(tables))

    def _left_out(self, task: Task, perturbed: Mapping[str, Any], formatted: Mapping[str, Any]) -> dict[str, str]:
        fitting = self._fitting(task)
        found = {
            name: "changes no question" if name in fitting else "would change the words that the answer is made of"
            for name in self.perturbations
            if name not in perturbed
        }
        return found if formatted or not self.formats else {**found, "formats": "the method reads no prompt"}


@dataclass(frozen=True)
class Rows:
    """The answers to the chosen questions, with their values, in the order of `ids`."""

    ids: tuple[str, ...]
    predictions: tuple[Prediction, ...]
    values: Floats
    examples: tuple[Example, ...]
    changed: int = 0

    @classmethod
    def of(cls, answers: Answers, chosen: Sequence[Example]) -> Rows:
        place = {id_: i for i, id_ in enumerate(answers.ids)}
        places = [place[e.question.id] for e in chosen]
        ids = tuple(e.question.id for e in chosen)
        return cls(ids, tuple(answers.predictions[i] for i in places), row_values(answers)[places], tuple(chosen))

    def changed_by(self, other: Answers) -> Rows:
        """These rows with the answers of `other` to the questions that it changed."""
        there = {id_: i for i, id_ in enumerate(other.ids)}
        values, found = row_values(other), [there.get(id_) for id_ in self.ids]
        return Rows(
            self.ids,
            tuple(p if i is None else other.predictions[i] for p, i in zip(self.predictions, found, strict=True)),
            np.array([v if i is None else values[i] for v, i in zip(self.values, found, strict=True)]),
            tuple(e if i is None else other.examples[i] for e, i in zip(self.examples, found, strict=True)),
            len(there),
        )

    @property
    def clusters(self) -> Clusters | None:
        return clusters_of(self.examples)

    def unchanged(self, other: Rows) -> Floats:
        pairs = zip(self.predictions, other.predictions, strict=True)
        return np.array([float(same_answer(one, two)) for one, two in pairs])


def _perturbed_values(plain: Rows, others: Sequence[Rows]) -> dict[str, Floats]:
    return {
        "perturbed": np.mean([other.values for other in others], axis=0),
        "worst_case": np.min([plain.values, *(other.values for other in others)], axis=0),
        "unchanged": np.mean([plain.unchanged(other) for other in others], axis=0),
    }


def _format_figures(plain: Rows, others: Sequence[Rows], seed: int) -> dict[str, Measured]:
    """Best, worst and spread over all formats, the method's own among them."""
    values = np.stack([plain.values, *(other.values for other in others)], axis=1)
    sums = bootstrap_sums(np.column_stack([values, np.ones(len(values))]), plain.clusters, seed)
    means, drawn = values.mean(axis=0), sums[:, :-1] / sums[:, -1:]
    unchanged = np.mean([plain.unchanged(other) for other in others], axis=0)
    n, found = len(values), {"formats_unchanged": mean(unchanged, plain.clusters, seed)}
    for name, of in (("worst", np.min), ("best", np.max), ("spread", np.ptp)):
        value = float(of(means))
        low, high = reflected(of(drawn, axis=1), value)
        if low == high:
            low, high = wilson(value * n, n)
        found[f"format_{name}"] = Measured(value, max(0.0, min(low, value)), min(1.0, max(high, value)), n)
    return found


def _table(title: str, plain: Rows, others: Mapping[str, Rows], seed: int) -> Table:
    changes: dict[str, Difference] = {
        name: change(rows.values, plain.values, plain.clusters, seed) for name, rows in others.items()
    }
    adjusted = holm([found.p for found in changes.values()])
    rows: list[list[TableCell]] = [
        ["plain", None, with_interval(mean(plain.values, plain.clusters, seed)), None, None, None]
    ]
    for (name, other), p in zip(others.items(), adjusted, strict=True):
        score, unchanged = mean(other.values, plain.clusters, seed), float(plain.unchanged(other).mean())
        rows.append([name, other.changed, with_interval(score), with_interval(changes[name], "{:+.3f}"), p, unchanged])
    columns = ("asked as", "questions changed", "score", "to plain", "p (Holm)", "unchanged answers")
    return Table(title, columns, rows, f"{len(plain.ids)} questions; differences are paired")


def _broken(plain: Rows, others: Mapping[str, Rows]) -> Table:
    """Answers that a perturbation made worse, the greatest loss first."""
    found = [
        (plain.values[i] - other.values[i], name, i)
        for name, other in others.items()
        for i in range(len(plain.ids))
        if plain.values[i] - other.values[i] > 1e-12
    ]
    found.sort(key=lambda each: (-each[0], plain.ids[each[2]], each[1]))
    rows: list[list[TableCell]] = [
        [plain.ids[i], name, e.question.text, plain.examples[i].answers[0], *(r.predictions[i].text for r in both)]
        for _, name, i in found[:SHOWN]
        for both, e in [((plain, others[name]), others[name].examples[i])]
    ]
    columns = ("id", "perturbation", "asked", "answer", "plain prediction", "prediction")
    return Table("Answers that a perturbation made worse", columns, rows, f"{len(found)} in total")
