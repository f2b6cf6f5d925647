"""The floor of a comparison: always giving the most frequent answer. A method that is not better does not work."""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.evaluation.answers import Answers
from stepladder.methods.baselines import Majority
from stepladder.resources import Resources
from stepladder.runs.run import Run
from stepladder.studies.ladder import Floor
from stepladder.studies.variants import Variant
from stepladder.types import TrainingData

NAME = "majority"


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
    return Floor(NAME, Answers(prepared.main, tuple(method.predict(prepared.main, resources)), prepared.examples))
