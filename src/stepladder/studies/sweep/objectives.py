"""The objectives of a sweep by name: a metric of a suite, which is maximised, or a cost, which is minimised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stepladder.errors import ConfigError, Fault, StoreError, did_you_mean
from stepladder.evaluation.suite import MetricSuite
from stepladder.runs.run import Run
from stepladder.runs.stages import Prepared

COSTS = (
    "trained_parameters", "training_tokens", "training_seconds", "best_validation_loss", "prompt_tokens_per_question",
    "new_tokens_per_question", "seconds_per_question",
)  # fmt: skip


@dataclass(frozen=True)
class Objective:
    """A figure of a run: of `suite`, or among its costs where that is None.

    Attributes:
        main: Whether `suite` is the task's own suite, whose figures a fit can compute while it trains.
    """

    name: str
    suite: str | None
    main: bool = False

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        return "minimize" if self.suite is None else "maximize"

    def value(self, run: Run) -> float:
        """Raises StoreError where the run has no such figure."""
        if self.suite is None:
            found = run.costs.figure(self.name)
        else:
            measured = run.scores[self.suite].get(self.name)
            found = None if measured is None else measured.value
        if found is None:
            raise StoreError(f"The run has no {self.name}", str(run.score.folder), "name another sweep.objective")
        return float(found)

    def reported(self, values: Mapping[str, float]) -> float | None:
        """This figure among those that a fit reports of one validation; None where it does not compute it."""
        if self.suite is None:
            return values["validation_loss"] if self.name == "best_validation_loss" else None
        return values.get(self.name) if self.main else None

    def better(self, value: float, than: float) -> bool:
        return value < than if self.suite is None else value > than


def objectives(wanted: str | Sequence[str] | None, prepared: Prepared) -> tuple[Objective, ...]:
    """Raises ConfigError for a name that no suite computes, that is no cost, or that is given twice."""
    known = _known(prepared)
    names = [wanted] if isinstance(wanted, str) else list(wanted or [next(iter(known))])
    there = [*known, *COSTS]
    faults = [
        Fault("sweep.objective", f"no suite computes '{name}', and it is no cost", did_you_mean(name, there))
        for name in names
        if name not in there
    ]
    found = [known.get(name) or Objective(name, None) for name in names]
    if not faults and len(set(found)) < len(found):
        faults.append(Fault("sweep.objective", "one objective is named twice", "name each once"))
    if not names:
        faults.append(Fault("sweep.objective", "no objective is named", "name one, or say null"))
    if faults:
        raise ConfigError(faults)
    return tuple(found)


def _known(prepared: Prepared) -> Mapping[str, Objective]:
    """Every metric by its name and by `suite.name`; the main one of the main suite first."""
    found: dict[str, Objective] = {}
    for place, (name, component) in enumerate(prepared.suites.items()):
        suite = component.object
        for metric in sorted(suite.metrics, key=lambda m: m != suite.main) if isinstance(suite, MetricSuite) else ():
            objective = Objective(metric, name, main=place == 0)
            found.setdefault(metric, objective)
            found[f"{name}.{metric}"] = objective
    return found
