"""The suite `calibration`: does confidence match accuracy, before and after temperature scaling?

The temperature and the threshold are fitted on validation rows only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from stepladder.errors import Fault, require
from stepladder.evaluation.answers import Answers, clusters_of
from stepladder.evaluation.requests import EvalBatch, EvalInputs, demand_probabilities
from stepladder.evaluation.statistics.estimates import Measured
from stepladder.evaluation.suite import Details, QuestionScore, SuiteScores, TaskKind
from stepladder.evaluation.suites import confidence as c
from stepladder.evaluation.suites.confidence import Sure
from stepladder.evaluation.suites.figures import mean, resampled, with_interval
from stepladder.evaluation.tables import Curves, Drawing, Table, TableCell

ENOUGH = 300
UNBOUNDED = (0.0, float("inf"))


@dataclass(frozen=True)
class Calibration:
    """Calibration error, Brier score, negative log-likelihood, risk-coverage curve and coverage, with and without a
    temperature.

    Args:
        bins: The number of bins of equal mass of the expected calibration error.
        accuracy: `coverage` is the share of questions that can be answered with this accuracy.
        errors: How many of the most confident wrong answers are listed.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[TaskKind | None] = "choice"

    bins: int = 10
    accuracy: float = 0.95
    errors: int = 20

    def __post_init__(self) -> None:
        share = "give more than 0 and at most 1"
        require(
            (self.bins >= 2, Fault("bins", f"{self.bins} bins are too few", "give at least 2")),
            (0 < self.accuracy <= 1, Fault("accuracy", f"{self.accuracy} is not a share", share)),
            (self.errors >= 0, Fault("errors", f"{self.errors} errors cannot be shown", "give at least 0")),
        )

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        demand_probabilities(inputs, alone=False)
        known = (inputs.ask("validation", inputs.validation),) if inputs.validation else ()
        return (inputs.plain, *known)

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        main, held = Sure.of(answers["main"]), answers.get("validation")
        if not main.known.logs.size:
            return SuiteScores({}, details={"left_out": {"everything": "no answer has probabilities"}})
        validation = None if held is None else Sure.of(held)
        details: Details = {"left_out": {}, "warnings": [], "without_probabilities": main.failed}
        if len(main.known.right) < ENOUGH:
            details["warnings"].append(f"fewer than {ENOUGH} rows: the calibration error is mostly noise")
        temperature = self._temperature(validation, details)
        before = self._figures(main, 1.0, seed)
        after = {} if temperature is None else self._figures(main, temperature, seed)
        metrics = {**before, **{f"{name}_after": figure for name, figure in after.items()}}
        details["ece_by_chance"] = c.ece_by_chance(main.usable(1.0), self.bins, seed)
        metrics |= self._selected(main, validation, seed, details)
        tables = (_table(before, after, details), *self._curves(main, temperature), self._errors(answers["main"]))
        scored = zip(main.answers.ids, main.everywhere(1.0)[0], main.mask, strict=True)
        lines = (QuestionScore(id_, "confidence", float(value) if there else None) for id_, value, there in scored)
        return SuiteScores(metrics, tuple(lines), details, tables)

    def _temperature(self, validation: Sure | None, details: Details) -> float | None:
        """Fitted on validation rows; None, with the reason in `details`, where there are none."""
        if validation is None or not validation.known.logs.size:
            details["left_out"]["temperature"] = "there are no validation rows"
            return None
        temperature = c.fitted_temperature(validation.known)
        details["temperature"] = temperature
        details["temperature_rows"] = len(validation.known.right)
        if not c.COLDEST * 1.02 < temperature < c.HOTTEST / 1.02:
            details["warnings"].append("the temperature is at the edge of the search range, 0.05 to 20")
        return temperature

    def _figures(self, main: Sure, temperature: float, seed: int) -> dict[str, Measured]:
        usable, right = main.usable(temperature), main.known.right
        everywhere, all_right = main.everywhere(temperature)
        brier, nll = main.known.brier(temperature), main.known.nll(temperature)
        n, some, whole = len(right), main.clusters_usable, main.clusters
        return {
            "ece": c.calibration_error(usable, right, self.bins, some, seed),
            "brier": resampled(lambda i: float(brier[i].mean()), n, some, seed, (0.0, 2.0)),
            "nll": resampled(lambda i: float(nll[i].mean()), n, some, seed, UNBOUNDED),
            "aurc": resampled(lambda i: c.aurc(everywhere[i], all_right[i]), len(all_right), whole, seed),
            "coverage": resampled(
                lambda i: c.reach(everywhere[i], all_right[i], self.accuracy)[0], len(all_right), whole, seed
            ),
        }

    def _selected(self, main: Sure, validation: Sure | None, seed: int, details: Details) -> dict[str, Measured]:
        """Coverage and accuracy above a confidence threshold that is fitted on the validation rows."""
        if validation is None or not validation.known.logs.size:
            return {}
        confidence, right = main.everywhere(1.0)
        _, threshold = c.reach(*validation.everywhere(1.0), self.accuracy)
        kept = confidence >= threshold
        details["threshold"] = threshold if np.isfinite(threshold) else None
        found = {"selected_coverage": mean(kept.astype(np.float64), main.clusters, seed)}
        if kept.any():
            found["selected_accuracy"] = mean(right[kept], clusters_of(main.answers.examples, kept), seed)
        return found

    def _curves(self, main: Sure, temperature: float | None) -> tuple[Drawing, ...]:
        at = {"before": 1.0} | ({} if temperature is None else {"after": temperature})
        right = main.known.right
        reliable = {
            name: [(sure, share) for sure, share, _ in c.bins_of(main.usable(t), right, self.bins)]
            for name, t in at.items()
        }
        risks = c.risks(*main.everywhere(1.0))
        places = np.unique(np.linspace(0, len(risks) - 1, 100).astype(int))
        answers = [(float((k + 1) / len(risks)), float(1 - risks[k])) for k in places]
        return (
            Curves("Reliability diagram", "confidence", "accuracy", reliable, diagonal=True),
            Curves("Selective prediction", "share answered", "accuracy", {"most confident": answers}),
        )

    def _errors(self, answers: Answers) -> Table:
        wrong = [
            (max(p.probabilities.values()), e, p)
            for p, e in zip(answers.predictions, answers.examples, strict=True)
            if p.probabilities and not p.failure and p.text not in e.answers
        ]
        wrong.sort(key=lambda found: (-found[0], found[1].question.id))
        rows: list[list[TableCell]] = [
            [e.question.id, e.question.text, e.answers[0], p.text, sure] for sure, e, p in wrong[: self.errors]
        ]
        columns = ("id", "question", "answer", "predicted", "confidence")
        return Table("Confident errors", columns, rows, f"{len(wrong)} wrong answers, the most confident first")


def _table(before: Mapping[str, Measured], after: Mapping[str, Measured], details: Details) -> Table:
    rows = [
        [name, with_interval(figure), with_interval(after[name]) if name in after else None]
        for name, figure in before.items()
    ]
    notes = [
        f"ECE of a perfectly calibrated model, by chance: {details['ece_by_chance']:.3f}.",
        *(f"Warning: {w}." for w in details["warnings"]),
    ]
    if "temperature" in details:
        notes.append(f"Temperature {details['temperature']:.3f}, from {details['temperature_rows']} validation rows.")
    return Table("Calibration", ("figure", "before", "after temperature scaling"), rows, " ".join(notes))
