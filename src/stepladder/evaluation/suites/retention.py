"""The suite `retention`: did tuning make the model worse on another dataset?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from stepladder.errors import require
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs, chosen, rows_rule
from stepladder.evaluation.suite import Details, SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import as_measured, change, figure_table, mean, metric_for, row_values
from stepladder.evaluation.tables import Table
from stepladder.types import Decoding, EvalRequest, Example, PromptOverride, Task

SHOWN = 50
MODES: Mapping[str, tuple[Literal["choose", "greedy", "json"], int]] = {
    "choice": ("choose", 16), "text": ("greedy", 64), "json": ("json", 256),
}  # fmt: skip


class Rows(Protocol):
    """Another dataset, once it was read."""

    @property
    def task(self) -> Task: ...

    @property
    def validation(self) -> tuple[Example, ...]: ...

    @property
    def test(self) -> tuple[Example, ...]: ...


@runtime_checkable
class Elsewhere(Protocol):
    """Another dataset, not yet read."""

    def read(self) -> Rows: ...


@dataclass(frozen=True)
class Retention:
    """The held-out questions of another dataset, without passages, for the tuned model and for its base.

    Args:
        dataset: The other dataset.
        rows: At most so many questions, chosen by their ids; None takes all.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = None

    dataset: Elsewhere
    rows: int | None = None

    def __post_init__(self) -> None:
        require(rows_rule(self.rows))

    def fingerprint(self) -> Mapping[str, Any]:
        """Its rows enter the score's key by what they are, not by where they came from."""
        return {"rows": self.rows}

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        if not inputs.tunes:
            return (inputs.plain,)
        found = self.dataset.read()
        held = found.test if inputs.rows == "test" else found.validation
        examples = tuple(chosen(held, self.rows, 0))
        if not examples:
            return (inputs.plain,)
        mode, room = MODES[found.task.kind]
        bare = PromptOverride(passages={example.question.id: () for example in examples})
        questions = tuple(example.question for example in examples)
        both = (
            EvalRequest(name, found.task, questions, Decoding(mode, room), bare, tuned)
            for name, tuned in (("before", False), ("after", True))
        )
        return (inputs.plain, *(EvalBatch(request, examples) for request in both))

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        before, after = answers.get("before"), answers.get("after")
        if before is None or after is None:
            left_out = {"everything": "nothing was tuned, or no held-out row is there"}
            return SuiteScores({}, details={"left_out": left_out})
        old, new, clusters = row_values(before), row_values(after), before.clusters()
        moved = change(new, old, clusters, seed)
        fixed, broken = new > old + 1e-12, new < old - 1e-12
        metrics = {
            "before": mean(old, clusters, seed),
            "after": mean(new, clusters, seed),
            "change": as_measured(moved),
            "fixed": mean(fixed.astype(np.float64), clusters, seed),
            "broken": mean(broken.astype(np.float64), clusters, seed),
        }
        note = f"p = {moved.p:.3g}, two-sided; {moved.wins} questions fixed, {moved.losses} regressed"
        tables = (
            figure_table("General questions before and after tuning", metrics, note),
            _moved("Broken by tuning", before, after, broken),
            _moved("Fixed by tuning", before, after, fixed),
        )
        metric = type(metric_for(before.request.task)).__name__
        details: Details = {"p": moved.p, "fixed": moved.wins, "broken": moved.losses, "metric": metric, "left_out": {}}
        lines = (*question_scores("before", before.ids, old), *question_scores("after", after.ids, new))
        return SuiteScores(metrics, lines, details, tables)


def _moved(title: str, before: Answers, after: Answers, which: NDArray[np.bool_]) -> Table:
    places = np.flatnonzero(which)
    rows = [
        [e.question.id, e.question.text, e.answers[0], before.predictions[i].text, after.predictions[i].text]
        for i, e in [(i, before.examples[i]) for i in places[:SHOWN]]
    ]
    return Table(title, ("id", "question", "answer", "before", "after"), rows, f"{len(places)} in total")
