"""The requests of all suites of an experiment; equal requests of several suites are answered once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stepladder.errors import ConfigError, Fault
from stepladder.evaluation.requests import EvalBatch, EvalInputs
from stepladder.evaluation.suite import Suite
from stepladder.types import EvalRequest

SuiteBatches = Mapping[str, tuple[str, EvalBatch]]
"""The batches of one suite by the suite's own name; with each, the request's name among those of all suites."""


@dataclass(frozen=True)
class EvalPlan:
    """What a fitted method has to answer.

    Attributes:
        requests: All requests, `main` first.
        suites: The batches of each suite.
        beside: The same without the main request, which is judged by the experiment's own examples.
    """

    requests: Mapping[str, EvalRequest]
    suites: Mapping[str, SuiteBatches]
    beside: Mapping[str, SuiteBatches]


def plan_evaluation(suites: Mapping[str, Suite], inputs: EvalInputs, key: Callable[[EvalRequest], str]) -> EvalPlan:
    """Collect the requests of every suite; requests of one `key` become one.

    Raises:
        ConfigError: With the faults of all suites that do not support the data or the decoding.
    """
    requests = {"main": inputs.main}
    names = {key(inputs.main): "main"}
    batches: dict[str, SuiteBatches] = {}
    faults: list[Fault] = []
    for suite, one in suites.items():
        try:
            wanted = one.requests(inputs)
        except ConfigError as error:
            faults += [Fault(f"evaluation={suite}", fault.what, fault.to_do) for fault in error.faults]
            continue
        own: dict[str, tuple[str, EvalBatch]] = {}
        for each in wanted:
            name = names.setdefault(key(each.request), f"{suite}.{each.request.name}")
            requests.setdefault(name, each.request)
            own[each.request.name] = (name, each)
        batches[suite] = own
    if faults:
        raise ConfigError(faults)
    beside = {suite: {o: b for o, b in own.items() if b != ("main", inputs.plain)} for suite, own in batches.items()}
    return EvalPlan(requests, batches, {suite: own for suite, own in beside.items() if own})
