"""The suite `format`: are free-form answers valid, how long are they, and do they follow the style rules?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from stepladder.errors import ConfigError, Fault
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Floats
from stepladder.evaluation.metrics.json_fields import ValidJson
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import SuiteScores, TaskKind, question_scores
from stepladder.evaluation.suites.figures import as_measured, change, figure_table, mean, resampled, row_values
from stepladder.evaluation.suites.style import Rule, faults_of_rules
from stepladder.evaluation.tables import Table, TableCell
from stepladder.types import Decoding, EvalRequest, Json, Prediction

SHOWN, LONGEST = 20, 200
LABEL_ROOM = 32
UNBOUNDED = (0.0, float("inf"))


@dataclass(frozen=True)
class FreeForm:
    """Every question is answered without constrained decoding.

    Args:
        max_new_tokens: Of each answer; None is that of the decoding, for labels at most 32.
        rules: Style rules by name, each with the arguments of `Rule`.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = None

    max_new_tokens: int | None = None
    rules: Mapping[str, Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        faults = []
        if self.max_new_tokens is not None and self.max_new_tokens < 1:
            faults.append(Fault("max_new_tokens", f"{self.max_new_tokens} tokens are too few", "give at least 1"))
        faults += faults_of_rules(self.rules or {})
        if faults:
            raise ConfigError(faults)

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        return (inputs.plain, inputs.ask("free", inputs.examples, decoding=self._decoding(inputs.main)))

    def _decoding(self, main: EvalRequest) -> Decoding:
        """The decoding of the main request where it is free-form, else greedy decoding."""
        free = main.decoding.mode in ("greedy", "sampled")
        own = main.decoding.max_new_tokens
        room = self.max_new_tokens or (min(own, LABEL_ROOM) if main.task.kind == "choice" and not free else own)
        return replace(main.decoding, mode=main.decoding.mode if free else "greedy", max_new_tokens=room)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        main, free = answers["main"], answers["free"]
        valid, clusters = validity(free), free.clusters()
        words = np.array([len(p.text.split()) for p in free.predictions], dtype=np.float64)
        room = free.request.decoding.max_new_tokens
        full = np.array([float(p.new_tokens >= room) for p in free.predictions])
        bound, loose = row_values(main), row_values(free)
        n = len(words)
        metrics: dict[str, Measured] = {
            "valid": mean(valid, clusters, seed),
            "score": mean(loose, clusters, seed),
            "cost_of_freedom": as_measured(change(bound, loose, clusters, seed)),
            "words": resampled(lambda i: float(words[i].mean()), n, clusters, seed, UNBOUNDED),
            "words_p95": resampled(lambda i: float(np.quantile(words[i], 0.95)), n, clusters, seed, UNBOUNDED),
            "cut_off": mean(full, clusters, seed),
        }
        kept = {name: self._kept(name, free) for name in self.rules or {}}
        metrics |= {f"rule_{name}": mean(values, clusters, seed) for name, values in kept.items()}
        if kept:
            metrics["all_rules"] = mean(np.min(list(kept.values()), axis=0), clusters, seed)
        note = "cost_of_freedom: the score of the main answers minus that of the free-form answers."
        table = figure_table("Free-form answers", metrics, note)
        tables = (table, _invalid(free, valid), *([_broken(free, kept)] if kept else []))
        lines = question_scores("valid", free.ids, valid) + question_scores("words", free.ids, words)
        for name, values in kept.items():
            lines += question_scores(f"rule_{name}", free.ids, values)
        reasons = Counter(p.failure for p in free.predictions if p.failure)
        details = {"max_new_tokens": room, "failures": dict(reasons.most_common(SHOWN)), "left_out": {}}
        return SuiteScores(metrics, tuple(lines), details, tables)

    def _kept(self, name: str, free: Answers) -> Floats:
        rule = Rule(**(self.rules or {})[name])
        return np.array([float(rule.keeps(p.text)) for p in free.predictions])


def validity(answers: Answers) -> Floats:
    """Whether each answer has the task's form: one of the labels, JSON that meets the schema, any text at all."""
    task, schema = answers.request.task, ValidJson()

    def valid(place: int, prediction: Prediction) -> bool:
        if prediction.failure:
            return False
        if isinstance(task.answer, Json):
            return bool(schema.value(prediction, answers.examples[place], task))
        return bool(prediction.text.strip())

    return np.array([float(valid(i, p)) for i, p in enumerate(answers.predictions)])


def _invalid(free: Answers, valid: Floats) -> Table:
    found = Counter(p.text[:LONGEST] for p, there in zip(free.predictions, valid, strict=True) if not there)
    rows: list[list[TableCell]] = [[text, count] for text, count in found.most_common(SHOWN)]
    return Table("Invalid answers", ("answer", "count"), rows, f"{found.total()} in total, the most frequent first")


def _broken(free: Answers, kept: Mapping[str, Floats]) -> Table:
    rows: list[list[TableCell]] = []
    for name, values in kept.items():
        broken = [i for i, value in enumerate(values) if not value]
        rows += [[name, len(broken), free.ids[i], free.predictions[i].text[:LONGEST]] for i in broken[: SHOWN // 4]]
    return Table("Style rules broken", ("rule", "count", "id", "answer"), rows, "some answers for each rule")
