"""The methods of one comparison on the same questions: the scores of each, and the paired differences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Metric, NotDefinedError
from stepladder.evaluation.statistics.estimates import LEVEL, Difference, Side, at_least, difference, measured
from stepladder.methods.baselines import Majority
from stepladder.resources import Resources
from stepladder.runs.run import Run
from stepladder.studies.results import Cell, Differences, DifferenceTo, Rules
from stepladder.studies.variants import Variant
from stepladder.types import TrainingData


@dataclass(frozen=True)
class Floor:
    """What a method has to beat to be called working: always the most frequent answer, given by the method `name`."""

    name: str
    answers: Answers


def floor_of(variants: Sequence[Variant], runs: Sequence[Run], answers: Sequence[Answers]) -> Floor:
    """The run of the method `Majority` where the comparison has one, else its answers, made here.

    Of several such runs (a learning curve) the one that learned from most rows counts. Without training rows the most
    frequent answer of the test rows themselves is taken, the strictest floor of this kind.
    """
    places = range(len(runs))
    most = [len(run.prepared.data.train) for run in runs]
    own = [at for at in places if isinstance(runs[at].prepared.method.object, Majority)]
    if own:
        at = max(own, key=lambda at: most[at])
        return Floor(variants[at].name, answers[at])
    prepared = runs[max(places, key=lambda at: most[at])].prepared
    method, resources = Majority(), Resources()
    method.fit(TrainingData(prepared.data.task, prepared.data.train or prepared.examples), resources)
    return Floor("majority", Answers(prepared.main, tuple(method.predict(prepared.main, resources)), prepared.examples))


class ComparedRuns:
    """Methods by name, simplest first, each with one or several runs that differ only by their seed.

    Every side is measured once and serves any number of differences.

    Raises:
        ConfigError: The main metric is not defined for the task.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        methods: Mapping[str, Sequence[Answers]],
        main: str,
        seed: int,
        rules: Rules | None = None,
    ) -> None:
        self.names, self.main, self.seed, self.rules = list(methods), main, seed, rules or Rules()
        self.sides: dict[str, dict[str, Side]] = {}
        for name, metric in metrics.items():
            with suppress(NotDefinedError):
                self.sides[name] = {method: Side(metric, runs, name) for method, runs in methods.items()}
        if main not in self.sides:
            what = f"the main metric '{main}' is not defined for this task"
            raise ConfigError(Fault("evaluation", what, "name another"))

    def cells(self, baseline: str, floor: Floor | None = None) -> list[Cell]:
        """One cell for each method.

        The best method has the highest value of the main metric among the methods that beat the floor, or among all
        where none does or no floor is given; of equal ones the first. `p_adjusted` is adjusted over all methods against
        the baseline, the next simpler one, the best, or the floor; `detectable` is at the strictest level of that
        family.
        """
        names, main = self.names, self.sides[self.main]
        if baseline not in names:
            what = f"there is no method '{baseline}'"
            raise ConfigError(Fault("comparison.baseline", what, did_you_mean(baseline, names)))
        to_floor = {} if floor is None else self.to_floor(floor)
        working = [name for name in names if name in to_floor and to_floor[name][self.main].better]
        best = max(working or names, key=lambda name: main[name].value)
        to_baseline = self.differences({name: baseline for name in names if name != baseline}.items())
        to_below = self.differences(zip(names[1:], names, strict=False))
        to_best = self.differences([(name, best) for name in names if name != best], [self.main])
        cells = []
        for name, below in zip(names, [None, *names], strict=False):
            cells.append(
                Cell(
                    name,
                    scores={metric: measured(side[name], self.seed) for metric, side in self.sides.items()},
                    at_least={metric: at_least(side[name], self.seed) for metric, side in self.sides.items()},
                    units=main[name].units,
                    difference=to_baseline.get((name, baseline)),
                    to_below=None if below is None else DifferenceTo(below, to_below[name, below]),
                    to_best=None if name == best else DifferenceTo(best, to_best[name, best]),
                    to_floor=DifferenceTo(floor.name, to_floor[name]) if floor and name in to_floor else None,
                )
            )
        return cells

    def differences(
        self, pairs: Iterable[tuple[str, str]], metrics: Iterable[str] | None = None
    ) -> dict[tuple[str, str], dict[str, Difference]]:
        """The differences of the first method of each pair to the second, p-values adjusted over all pairs."""
        family = list(pairs)
        found: dict[tuple[str, str], dict[str, Difference]] = {pair: {} for pair in family}
        for metric in self.sides if metrics is None else metrics:
            side = self.sides[metric]
            for pair, each in zip(family, self._tested([(side[one], side[two]) for one, two in family]), strict=True):
                found[pair][metric] = each
        return found

    def to_floor(self, floor: Floor) -> dict[str, Differences]:
        """The main metric's difference of each method to the floor."""
        side = self.sides[self.main]
        against = side[floor.name] if floor.name in side else Side(side[self.names[0]].metric, floor.answers, self.main)
        others = [name for name in self.names if name != floor.name]
        tested = self._tested([(side[name], against) for name in others])
        return {name: {self.main: each} for name, each in zip(others, tested, strict=True)}

    def _tested(self, pairs: Sequence[tuple[Side, Side]]) -> list[Difference]:
        level = LEVEL / max(1, len(pairs))
        found = [difference(one, two, self.seed, self.rules.mid_p, level) for one, two in pairs]
        adjusted = self.rules.adjusted([each.p for each in found])
        return [replace(each, p_adjusted=p) for each, p in zip(found, adjusted, strict=True)]
