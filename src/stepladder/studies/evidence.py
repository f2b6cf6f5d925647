"""What a report shows of finished runs besides the comparison: examples, suites, confusions, costs and provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from stepladder.dataset.accounts import RowCounts
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.metrics.choice import Metric
from stepladder.evaluation.metrics.confusion import confusion
from stepladder.evaluation.statistics.estimates import Measured, mean_over_runs
from stepladder.evaluation.tables import Drawing, Table
from stepladder.io import serialise
from stepladder.io.files import read_json
from stepladder.io.redaction import mask
from stepladder.runs.results import Scores
from stepladder.runs.run import Run
from stepladder.studies.advice import advice
from stepladder.studies.break_even import Prices, Spending, bill
from stepladder.studies.examples import ExampleRows, rows
from stepladder.studies.results import Bills, CellTuning
from stepladder.studies.variants import Plan, Variant
from stepladder.types import Choice, Plain


@dataclass(frozen=True)
class SuiteFindings:
    """What a suite found of one run of `method`; `run` is the run's title."""

    method: str
    run: str
    name: str
    metrics: Mapping[str, Measured]
    tables: Sequence[Drawing]


@dataclass(frozen=True)
class DataFacts:
    """What the checklist needs to know about the data and the evaluation.

    Attributes:
        train: The number of training rows; `validation` likewise.
        labels: The number of labels of a choice task, None for other tasks.
        decoding: The decoding mode.
        requests: How many requests are expected; None where `comparison.requests` is not set.
        suites: The metrics of further suites, by suite and method.
        advice: By suite, the overrides that would add it; only suites that the comparison can run.
    """

    train: int
    validation: int
    labels: int | None
    rows: RowCounts
    decoding: str
    requests: float | None
    suites: Mapping[str, Mapping[str, Mapping[str, Measured]]]
    advice: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Evidence:
    """What a report shows that is not part of the comparison.

    Attributes:
        rows: The examples for the page's script; None for none.
        suites: What the suites other than the main one found, by run.
        confusions: Confusion tables, by run.
        texts: Configurations, by title.
        provenance: That of the last run.
        origins: For each run, when its fit was made and by which commit.
    """

    facts: DataFacts
    rows: ExampleRows | None = None
    suites: Sequence[SuiteFindings] = ()
    confusions: Mapping[str, Sequence[Table]] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    provenance: Plain = field(default_factory=dict)
    origins: Sequence[tuple[str, str]] = ()

    def by_suite(self) -> dict[str, list[SuiteFindings]]:
        return {each.name: [other for other in self.suites if other.name == each.name] for each in self.suites}


def titles(variants: Sequence[Variant]) -> list[str]:
    """The title of each run: its cell's name, and its seed where the cell has several runs."""
    names = [variant.name for variant in variants]
    return [v.name if names.count(v.name) == 1 else f"{v.name}, seed {v.seed}" for v in variants]


def spending(
    variants: Sequence[Variant], runs: Sequence[Run], answers: Sequence[Answers], tuning: Mapping[str, CellTuning]
) -> dict[str, Spending]:
    """What each method cost, by name, with the search that tuned it."""
    found: dict[str, Spending] = {}
    for name in dict.fromkeys(variant.name for variant in variants):
        own = [at for at, variant in enumerate(variants) if variant.name == name]
        search = tuning.get(name, CellTuning())
        prepared = runs[own[0]].prepared
        chosen_by = len(prepared.data.validation) if "validation" not in prepared.method.object.reads else 0
        labels = chosen_by if search.trials else 0
        costs = [runs[at].costs for at in own]
        found[name] = Spending.of([answers[at] for at in own], costs, search.seconds, labels, prepared.tariff)
    return found


def bills(costs: Mapping[str, Spending], prices: Prices) -> Bills:
    """Setup and request of each method in one unit."""
    return Bills(prices.unit, {name: bill(each, prices) for name, each in costs.items()})


def shown_rows(
    variants: Sequence[Variant], answers: Sequence[Answers], metric: tuple[str, Metric], baseline: str, first: str
) -> ExampleRows:
    """The examples for the page's script, each run next to one of the next simpler method."""
    names = [variant.name for variant in variants]
    methods = list(dict.fromkeys(names))
    places = {(variant.name, variant.seed): at for at, variant in enumerate(variants)}
    simpler = {name: methods[max(0, at - 1)] for at, name in enumerate(methods)}
    below = [places.get((simpler[v.name], v.seed), names.index(simpler[v.name])) for v in variants]
    named = dict(zip(titles(variants), answers, strict=True))
    name, by = metric
    return rows(named, by, below, names.index(baseline), names.index(first), name=name)


def confusions(variants: Sequence[Variant], answers: Sequence[Answers]) -> dict[str, tuple[Table, ...]]:
    """The confusion tables of the first run of every method, by the run's title."""
    first: dict[str, tuple[str, Answers]] = {}
    for variant, own, run_title in zip(variants, answers, titles(variants), strict=True):
        first.setdefault(variant.name, (run_title, own))
    return {run_title: tuple(tables) for run_title, own in first.values() if (tables := confusion(own))}


def suites(variants: Sequence[Variant], runs: Sequence[Run]) -> list[SuiteFindings]:
    """What the suites other than the main one found, run by run; tables of the first run of every method."""
    found: list[SuiteFindings] = []
    seen: set[str] = set()
    for variant, title, run in zip(variants, titles(variants), runs, strict=True):
        stored = None if variant.name in seen else serialise.read(Scores, run.score.folder / "scores.json")
        seen.add(variant.name)
        main = next(iter(run.prepared.suites))
        for name in run.prepared.suites:
            tables = stored.tables.get(name, ()) if stored else ()
            if name != main or tables:
                metrics = {} if name == main else run.scores.get(name, {})
                found.append(SuiteFindings(variant.name, title, name, metrics, tables))
    return found


def data_facts(planned: Plan, variants: Sequence[Variant], runs: Sequence[Run]) -> DataFacts:
    """What the checklist needs to know about the data."""
    prepared = runs[0].prepared
    answer = prepared.data.task.answer
    by_suite: dict[str, dict[str, list[Mapping[str, Measured]]]] = {}
    for variant, run in zip(variants, runs, strict=True):
        for name in [*run.prepared.suites][1:]:
            if run.scores.get(name):
                by_suite.setdefault(name, {}).setdefault(variant.name, []).append(run.scores[name])
    return DataFacts(
        train=len(prepared.data.train),
        validation=len(prepared.data.validation),
        labels=len(answer.labels) if isinstance(answer, Choice) and answer.labels else None,
        rows=prepared.data.accounts.counts(),
        decoding=prepared.decoding.mode,
        requests=planned.comparison.requests,
        suites={
            name: {
                method: {metric: mean_over_runs([e[metric] for e in each if metric in e]) for metric in each[0]}
                for method, each in found.items()
            }
            for name, found in by_suite.items()
        },
        advice=advice([run.prepared for run in runs]),
    )


def title(variants: Sequence[Variant], runs: Sequence[Run]) -> str:
    """The title of a report: dataset, models and date of the last run."""
    prepared = [run.prepared for run in runs]
    models = list(dict.fromkeys(name for each in prepared if (name := each.experiment.model_name)))
    day = max(str((read_json(run.score.folder / "provenance.json") or {}).get("time", "")) for run in runs)[:10]
    using = f" with {', '.join(models[:3])}{' and others' if len(models) > 3 else ''}" if models else ""
    methods = len({variant.name for variant in variants})
    what = f"{methods} method{'' if methods == 1 else 's'} on {prepared[0].experiment.dataset_name}{using}"
    return f"{what}, {day}" if day else what


def evidence(
    planned: Plan,
    variants: Sequence[Variant],
    runs: Sequence[Run],
    examples: ExampleRows,
    confusions: Mapping[str, Sequence[Table]],
) -> Evidence:
    """All that a report shows of finished runs."""
    last = runs[-1]
    provenance = read_json(last.score.folder / "provenance.json") or {}
    predicted = read_json(last.predictions["main"].folder / "provenance.json") or {}
    provenance["weights"] = predicted.get("weights", {})
    texts = {"Configuration": _text(planned.config)}
    for variant, run in zip(variants, runs, strict=True):
        texts.setdefault(f"Experiment: {variant.name}", _text(run.prepared.experiment.as_config()))
    return Evidence(
        data_facts(planned, variants, runs),
        examples,
        suites(variants, runs),
        confusions,
        texts,
        provenance,
        [_origin(run) for run in runs],
    )


def _text(config: Plain) -> str:
    return yaml.safe_dump(mask(dict(config)), sort_keys=False, allow_unicode=True)


def _origin(run: Run) -> tuple[str, str]:
    """When a run's fit was made, and by which commit."""
    made = read_json(run.fit.folder / "provenance.json") or {}
    code = made.get("code") or {}
    changed = " and changes" if code.get("dirty") else ""
    return str(made.get("time", "")), f"{code['commit'][:12]}{changed}" if code.get("commit") else ""
