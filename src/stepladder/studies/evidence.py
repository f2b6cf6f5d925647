"""The evidence of a report beside its figures: rows, suites, confusions, costs and provenance.

Reads finished runs and their directories; draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Metric
from stepladder.evaluation.metrics.confusion import confusion
from stepladder.evaluation.statistics.estimates import mean_over_runs
from stepladder.io.files import read_json
from stepladder.io.redaction import mask
from stepladder.runs.run import Run
from stepladder.studies.advice import advice
from stepladder.studies.break_even import Prices, Spending, bill
from stepladder.studies.examples import rows
from stepladder.studies.variants import Plan, Variant
from stepladder.types import Choice


@dataclass(frozen=True)
class SuiteFindings:
    """What a suite found of one run of `method`: `metrics` with intervals, `exhibits` as scores.json has them."""

    method: str
    run: str
    name: str
    metrics: Mapping[str, Mapping[str, Any]]
    exhibits: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Evidence:
    """What a report has beside the object of a comparison.

    rows: for the page's script, None for none. suites: those beside the main one, by run. confusions: by run.
    texts: configurations, by a title. provenance: of the last run. origins: of every run in turn, when its fit was made
    and by which commit.
    """

    rows: Mapping[str, Any] | None = None
    suites: Sequence[SuiteFindings] = ()
    confusions: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    origins: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class DataFacts:
    """What the checklist needs to know of the data and the evaluation.

    train, validation: numbers of rows. labels: of a choice task, None for others. rows: the row account. decoding: its
    mode. requests: how many are expected, None where `comparison.requests` is not set. suites: the scores of further
    suites by method. advice: by suite, the overrides that would add it; only suites that the comparison can run.
    """

    train: int
    validation: int
    labels: int | None
    rows: Mapping[str, Any]
    decoding: str
    requests: float | None
    suites: Mapping[str, Mapping[str, Mapping[str, Any]]]
    advice: Mapping[str, str] = field(default_factory=dict)


def titles(variants: Sequence[Variant]) -> list[str]:
    """What each run is called: its cell, and its seed where the cell has several runs."""
    names = [variant.name for variant in variants]
    return [v.name if names.count(v.name) == 1 else f"{v.name}, seed {v.seed}" for v in variants]


def spending(
    variants: Sequence[Variant], runs: Sequence[Run], answers: Sequence[Answers], tuning: Mapping[str, Any]
) -> dict[str, Spending]:
    """What each method took, by its name; a search that tuned it counts too."""
    found: dict[str, Spending] = {}
    for name in dict.fromkeys(variant.name for variant in variants):
        own = [at for at, variant in enumerate(variants) if variant.name == name]
        seconds = float(tuning.get(name, {}).get("seconds") or 0.0)
        prepared = runs[own[0]].prepared
        chosen_by = len(prepared.data.validation) if "validation" not in prepared.method.object.reads else 0
        labels = chosen_by if tuning.get(name, {}).get("trials") else 0
        found[name] = Spending.of([answers[at] for at in own], [runs[at].costs for at in own], seconds, labels)
    return found


def bills(costs: Mapping[str, Spending], prices: Prices) -> dict[str, Any]:
    """Setup and request of each method in one unit."""
    return {"unit": prices.unit, "rungs": {name: bill(each, prices) for name, each in costs.items()}}


def shown_rows(
    variants: Sequence[Variant], answers: Sequence[Answers], metric: Metric, baseline: str, first: str
) -> dict[str, Any]:
    """The rows for the page's script: each run beside the run of the rung below with its seed, or the first of it."""
    names = [variant.name for variant in variants]
    rungs = list(dict.fromkeys(names))

    def run_of(rung: str, seed: int) -> int:
        own = [at for at, name in enumerate(names) if name == rung]
        return next((at for at in own if variants[at].seed == seed), own[0])

    below = [run_of(rungs[max(0, rungs.index(v.name) - 1)], v.seed) for v in variants]
    named = dict(zip(titles(variants), answers, strict=True))
    return rows(named, metric, below, names.index(baseline), names.index(first))


def confusions(variants: Sequence[Variant], answers: Sequence[Answers]) -> dict[str, list[dict[str, Any]]]:
    """What is taken for what, of the first run of every rung."""
    found: dict[str, list[dict[str, Any]]] = {}
    for variant, own, title in zip(variants, answers, titles(variants), strict=True):
        if not any(other.split(", seed ")[0] == variant.name for other in found):
            found[title] = [table.as_dict() for table in confusion(own)]
    return {title: tables for title, tables in found.items() if tables}


def suites(variants: Sequence[Variant], runs: Sequence[Run]) -> list[SuiteFindings]:
    """What the suites beside the main one found, run by run; exhibits of the first run of every rung."""
    found: list[SuiteFindings] = []
    seen: set[str] = set()
    for variant, title, run in zip(variants, titles(variants), runs, strict=True):
        stored = {} if variant.name in seen else read_json(run.score.folder / "scores.json") or {}
        seen.add(variant.name)
        main = next(iter(run.prepared.suites))
        for name in run.prepared.suites:
            exhibits = stored.get("exhibits", {}).get(name, [])
            if name != main or exhibits:
                metrics = {} if name == main else run.scores.get(name, {})
                found.append(SuiteFindings(variant.name, title, name, metrics, exhibits))
    return found


def data_facts(planned: Plan, variants: Sequence[Variant], runs: Sequence[Run]) -> DataFacts:
    """What the list of points asks of the data."""
    prepared = runs[0].prepared
    answer = prepared.data.task.answer
    by_suite: dict[str, dict[str, list[Any]]] = {}
    for variant, run in zip(variants, runs, strict=True):
        for name in [*run.prepared.suites][1:]:
            if run.scores.get(name):
                by_suite.setdefault(name, {}).setdefault(variant.name, []).append(run.scores[name])
    return DataFacts(
        train=len(prepared.data.train),
        validation=len(prepared.data.validation),
        labels=len(answer.labels) if isinstance(answer, Choice) and answer.labels else None,
        rows=prepared.data.accounts.as_dict(),
        decoding=prepared.decoding.mode,
        requests=planned.comparison.requests,
        suites={name: {method: _mean(runs) for method, runs in found.items()} for name, found in by_suite.items()},
        advice=advice([run.prepared for run in runs]),
    )


def _mean(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """The figures of a suite, means over the runs of one method."""
    return {name: mean_over_runs([each[name] for each in runs if name in each]) for name in runs[0]}


def title(variants: Sequence[Variant], runs: Sequence[Run]) -> str:
    """What a report is about: dataset, models and date of the last run."""
    prepared = [run.prepared for run in runs]
    models = list(dict.fromkeys(name for each in prepared if (name := each.experiment.model_name)))
    day = max(str((read_json(run.score.folder / "provenance.json") or {}).get("time", "")) for run in runs)[:10]
    using = f" with {', '.join(models[:3])}{' and others' if len(models) > 3 else ''}" if models else ""
    methods = len({variant.name for variant in variants})
    what = f"{methods} method{'' if methods == 1 else 's'} on {prepared[0].experiment.dataset_name}{using}"
    return f"{what}, {day}" if day else what


def evidence(planned: Plan, variants: Sequence[Variant], runs: Sequence[Run], kept: Mapping[str, Any]) -> Evidence:
    """All of it; `kept` has what was made of the predictions: rows and confusions."""
    last = runs[-1]
    provenance = read_json(last.score.folder / "provenance.json") or {}
    asked = read_json(last.predictions["main"].folder / "provenance.json") or {}
    provenance["weights"] = asked.get("weights", {})
    texts = {"Configuration": _text(planned.config)}
    for variant, run in zip(variants, runs, strict=True):
        config = run.prepared.experiment.as_config()
        texts.setdefault(f"Experiment: {variant.name}", _text(config))
    origins = [_origin(run) for run in runs]
    return Evidence(kept["rows"], suites(variants, runs), kept["confusions"], texts, provenance, origins)


def _text(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(mask(dict(config)), sort_keys=False, allow_unicode=True)


def _origin(run: Run) -> tuple[str, str]:
    """When a run's fit was made, and by which commit."""
    told = read_json(run.fit.folder / "provenance.json") or {}
    code = told.get("code") or {}
    changed = " and changes" if code.get("dirty") else ""
    return str(told.get("time", "")), f"{code['commit'][:12]}{changed}" if code.get("commit") else ""
