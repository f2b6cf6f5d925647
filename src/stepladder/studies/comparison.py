"""A comparison: runs its variants on the same questions and judges them: cells, paired differences, a verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stepladder.errors import ConfigError, DataError, Fault, StoreError, did_you_mean
from stepladder.evaluation.answers import Answers, unlike
from stepladder.evaluation.metrics.choice import Metric, NotDefinedError
from stepladder.evaluation.statistics.estimates import Difference, Side, difference
from stepladder.evaluation.tables import Table
from stepladder.io import serialise
from stepladder.io.serialise import to_plain
from stepladder.runs.run import Run, RunContext, report_rows, run_prepared
from stepladder.runs.stages import Prepared, prepare
from stepladder.store.identity import digest
from stepladder.studies.answered import main_answers, main_suite
from stepladder.studies.break_even import Prices, Spending, break_evens, tuned_and_prompted
from stepladder.studies.compared_runs import ComparedRuns, floor_of
from stepladder.studies.evidence import Evidence, bills, confusions, evidence, shown_rows, spending, title
from stepladder.studies.examples import ExampleRows
from stepladder.studies.learning_curve import learning_curve, once
from stepladder.studies.pace import Pace
from stepladder.studies.results import (
    Bills,
    BreakEven,
    Cell,
    CellTuning,
    ComparedRun,
    Comparison,
    Differences,
    DifferenceTo,
    Rules,
    TunedDifference,
    Verdict,
)
from stepladder.studies.variants import Plan, Variant
from stepladder.studies.verdict import tuned_lines, verdict

VERSION = 4
"""Raised when the same scores are judged in another way, or a judgement is stored in another form."""


@dataclass(frozen=True)
class Judgement:
    """The statistics of finished runs. They are stored, so that the same command does not compute them again.

    `differences` are those of each run to the baseline's run, None for the baseline's own runs.
    """

    cells: tuple[Cell, ...]
    verdict: Verdict
    differences: tuple[Differences | None, ...]
    tuned_differences: tuple[TunedDifference, ...]
    bills: Bills
    break_even: tuple[BreakEven, ...]
    no_break_even: tuple[tuple[str, str], ...]
    examples: ExampleRows
    confusions: Mapping[str, tuple[Table, ...]]


@dataclass(frozen=True)
class StoredJudgement:
    """A judgement with `of`, the digest of what it depends on, and its own `hash`."""

    of: str
    hash: str
    found: Judgement


def compare(
    planned: Plan, context: RunContext, tuning: Mapping[str, CellTuning] | None = None, command: str | None = None
) -> tuple[Comparison, Evidence]:
    """Run every variant and judge them on the same questions.

    Args:
        planned: What varies.
        context: Where it runs.
        tuning: By cell, how it was tuned before.
        command: The command line, for the report.

    Returns:
        The comparison, with an empty checklist, and what the report shows besides it.

    Raises:
        UserError: A variant cannot run, or questions differ. Raised before the first run.
    """
    if not isinstance(planned.comparison.prices, Prices | None):
        raise ConfigError(
            Fault("comparison.prices", "these are not prices", "its _target_ is stepladder.studies.Prices")
        )
    shared = context.store.shared()
    prepared = _with_the_same_rows(
        [prepare(variant.experiment, context.trust, context.read, shared) for variant in planned.variants]
    )
    _same_questions(planned.variants, prepared)
    _check_currency(planned, prepared)
    if planned.comparison.curve:
        distinct = once(list(zip(planned.variants, prepared, strict=True)), planned.comparison.curve)
        planned, prepared = replace(planned, variants=tuple(v for v, _ in distinct)), [p for _, p in distinct]
    for note in _different_experiments(planned.variants, prepared, bool(tuning)):
        context.progress.note(f"note: {note}")
    report_rows(prepared[0], context)
    baseline = _baseline(planned)
    study = f"{planned.comparison.name}-{digest([p.score_form.key for p in prepared])[:12]}"
    context.study = study
    runs, pace = [], Pace(prepared, context.store)
    for number, (variant, ready) in enumerate(zip(planned.variants, prepared, strict=True), start=1):
        context.progress.note(f"[{number}/{len(prepared)}] {variant.name}, seed {variant.seed}{pace.left}")
        runs.append(run_prepared(ready, context))
        pace.finish_run(runs[-1].costs)
    variants, runs = _distinct(planned.variants, runs)
    folder = context.store.study(study)
    folder.mkdir(parents=True, exist_ok=True)
    judge = Judge(planned, variants, runs, baseline, tuning or {}, seed=int(digest(study)[:8], 16))
    found = _judged(judge, folder / "judged.json")
    curve = learning_curve(variants, runs, found.verdict.metric) if planned.comparison.curve else None
    comparison = Comparison(
        study=study,
        title=title(variants, runs),
        report=str(folder / "report.html"),
        baseline=baseline,
        command=command,
        rows=tuple(map(_compared_run, variants, runs, found.differences)),
        cells=found.cells,
        verdict=found.verdict,
        rules=judge.rules,
        tuned_differences=found.tuned_differences,
        bills=found.bills,
        break_even=found.break_even,
        no_break_even=found.no_break_even,
        tuning=tuning or None,
        learning_curve=None if curve is None else curve.result,
        curve=None if curve is None else curve.drawings(found.verdict.metric),
    )
    return comparison, evidence(planned, variants, runs, found.examples, found.confusions)


def _check_currency(planned: Plan, prepared: Sequence[Prepared]) -> None:
    """Raises ConfigError where a model has prices that cannot be compared with those of the others."""
    prices = planned.comparison.prices or Prices()
    faults = []
    for variant, ready in zip(planned.variants, prepared, strict=True):
        if ready.tariff is None or not ready.tariff.known:
            continue
        if ready.tariff.currency != prices.currency:
            what = (
                f"the prices of {variant.name}'s model are in {ready.tariff.currency}, the others in {prices.currency}"
            )
            to_do = f"give all prices in one currency: comparison.prices.currency={ready.tariff.currency}"
            faults.append(Fault("comparison.prices.currency", what, to_do))
        elif not prices.hour and any(each.tariff is None for each in prepared):
            what = f"{variant.name}'s model has prices, and an hour of this machine, which answers for others, has none"
            faults.append(Fault("comparison.prices.hour", what, "give its price: comparison.prices.hour=1.2"))
    if faults:
        raise ConfigError(faults)


def _compared_run(variant: Variant, run: Run, difference: Differences | None) -> ComparedRun:
    own = vars(run.result)
    return ComparedRun(**own, name=variant.name, overrides=variant.overrides, seed=variant.seed, difference=difference)


def _baseline(planned: Plan) -> str:
    names = list(dict.fromkeys(variant.name for variant in planned.variants))
    wanted = planned.comparison.baseline
    if wanted is None:
        return names[0]
    matching = [name for name in names if name == wanted] or [name for name in names if name.split(" ")[0] == wanted]
    if matching:
        return matching[0]
    raise ConfigError(
        Fault("comparison.baseline", f"'{wanted}' is not one of the compared cells", did_you_mean(wanted, names))
    )


def _with_the_same_rows(prepared: Sequence[Prepared]) -> list[Prepared]:
    """The experiments without the rows that the chat template of any of their models refuses."""
    refused = {place: reason for each in prepared for place, reason in each.refused.items()}
    found = []
    for each in prepared:
        more = {place: reason for place, reason in refused.items() if place not in each.refused}
        found.append(replace(each, data=each.data.without(more), refused=refused) if more else each)
    return found


def _different_experiments(variants: Sequence[Variant], prepared: Sequence[Prepared], tuned: bool) -> list[str]:
    """Notes on cells of different names that are the same experiment: their values have no effect, or tuning led there.

    Raises ConfigError where cells choose different options and are the same experiment nevertheless: the comparison
    would show one run under several names.
    """
    names: dict[str, dict[str, Variant]] = {}
    for variant, ready in zip(variants, prepared, strict=True):
        names.setdefault(ready.score_form.key, {}).setdefault(variant.name, variant)
    faults, notes = [], []
    for cells in (found for found in names.values() if len(found) > 1):
        listed = " | ".join(cells)
        if tuned:
            notes.append(f"{listed}: tuning led to the same experiment")
        elif len({_options_of(cell) for cell in cells.values()}) == 1:
            notes.append(f"{listed}: what differs between them has no effect: they are the same experiment")
        else:
            what = "these cells are the same experiment: no part of it uses what differs between them"
            to_do = "leave all but one of them out, or vary what the method, its data or its evaluation use"
            faults.append(Fault(listed, what, to_do))
    if faults:
        raise ConfigError(faults)
    return notes


def _options_of(variant: Variant) -> tuple[str, ...]:
    """The varied overrides that choose an option of a group."""
    pairs = [text.split("=", 1) for text in variant.overrides]
    return tuple(f"{key}={value}" for key, value in pairs if key != "seed" and "." not in key)


def _same_questions(variants: Sequence[Variant], prepared: Sequence[Prepared]) -> None:
    """Raise DataError, with the difference, where two variants have different test rows."""
    first = {e.question.id: e for e in prepared[0].examples}
    for variant, other in zip(variants, prepared, strict=True):
        found = {e.question.id: e for e in other.examples}
        where = f"{variants[0].name} (seed {variants[0].seed}) and {variant.name} (seed {variant.seed})"
        to_do = "compare on one dataset with one split; what varies must not change the held-out rows"
        if found.keys() != first.keys():
            only = [sorted(first.keys() - found.keys())[:3], sorted(found.keys() - first.keys())[:3]]
            what = f"{len(first)} against {len(found)}; only in the first {only[0]}, only in the second {only[1]}"
            raise DataError(f"Different questions: {what}", where, to_do)
        for id_, example in found.items():
            if (part := unlike(first[id_], example)) is not None:
                raise DataError(f"Different questions: '{id_}' differs in its {part}", where, to_do)


def _distinct(variants: Sequence[Variant], runs: Sequence[Run]) -> tuple[list[Variant], list[Run]]:
    """Equal keys are one run: a method without randomness has one row for all seeds."""
    kept: dict[tuple[str, str], tuple[Variant, Run]] = {}
    for variant, run in zip(variants, runs, strict=True):
        kept.setdefault((variant.name, run.score.key), (variant, run))
    return [variant for variant, _ in kept.values()], [run for _, run in kept.values()]


def _judged(judge: Judge, file: Path) -> Judgement:
    """The judgement in the file where it is of these runs, else a new one."""
    with suppress(StoreError):  # a file that was changed, or that an earlier version wrote, is written anew
        stored = serialise.read(StoredJudgement, file)
        if stored is not None and stored.of == judge.of and stored.hash == digest(to_plain(stored.found)):
            return stored.found
    found = judge()
    serialise.write(file, StoredJudgement(judge.of, digest(to_plain(found)), found))
    return found


def _hash(found: Judgement) -> str:
    return digest(to_plain(found))


@dataclass(frozen=True)
class Judge:
    """Finished runs, and the rules for judging them."""

    planned: Plan
    variants: Sequence[Variant]
    runs: Sequence[Run]
    baseline: str
    tuning: Mapping[str, CellTuning]
    seed: int

    @property
    def of(self) -> str:
        """What the judgement depends on."""
        names = [(variant.name, variant.seed, run.score.key, to_plain(run.costs)) for variant, run in self._pairs]
        searched = {name: found.seconds for name, found in self.tuning.items()}
        tariffs = [to_plain(run.prepared.tariff) for run in self.runs if run.prepared.tariff is not None]
        rules = asdict(self.planned.comparison)
        by = {"by": rules, "search": searched, "tariffs": tariffs}
        return digest({"version": VERSION, "runs": names, "baseline": self.baseline, **by})

    @property
    def _pairs(self) -> Iterator[tuple[Variant, Run]]:
        return zip(self.variants, self.runs, strict=True)

    @property
    def rules(self) -> Rules:
        return Rules(self.planned.comparison.mid_p, self.planned.comparison.correction)

    def __call__(self) -> Judgement:
        suite, comparison = main_suite(self.runs[0]), self.planned.comparison
        answered = [main_answers(run) for run in self.runs]
        methods: defaultdict[str, list[Answers]] = defaultdict(list)
        seeds: defaultdict[str, list[int]] = defaultdict(list)
        for variant, answers in zip(self.variants, answered, strict=True):
            methods[variant.name].append(answers)
            seeds[variant.name].append(variant.seed)
        scores = [run.scores[next(iter(run.prepared.suites))] for run in self.runs]
        metrics = {name: m for name, m in suite.metrics.items() if all(name in own for own in scores)}
        main = suite.main or next(iter(metrics))
        compared = ComparedRuns(metrics, methods, main, self.seed, self.rules)
        floor = floor_of(self.variants, self.runs, answered)
        seeded = {variant.name for variant, run in self._pairs if run.prepared.seeded}
        cells = [
            replace(cell, seeds=tuple(seeds[cell.name]), seeded=cell.name in seeded)
            for cell in compared.cells(self.baseline, floor)
        ]
        bare = {variant.name for variant, run in self._pairs if not run.costs.prompt_tokens}
        chosen = verdict(cells, list(methods), main, comparison.margin, comparison.target, bare, floor.name)
        cells = against_recommended(cells, compared, chosen.recommended)
        costs = spending(self.variants, self.runs, answered, self.tuning)
        tuned = tuned_differences(cells, compared, costs, chosen.recommended)
        chosen = replace(chosen, tuned=tuple(tuned_lines(tuned, cells, main, chosen.recommended)))
        worse = [(each.name, each.against) for each in tuned if each.difference[main].worse]
        first = chosen.recommended or chosen.best
        prices, clusters = comparison.prices or Prices(), compared.sides[main][first].clusters
        return Judgement(
            cells=tuple(cells),
            verdict=chosen,
            differences=tuple(self._differences(metrics, answered)),
            tuned_differences=tuple(tuned),
            bills=bills(costs, prices),
            break_even=tuple(break_evens(costs, prices, clusters, self.seed, worse)),
            no_break_even=tuple(pair for pair in tuned_and_prompted(costs) if pair in worse),
            examples=shown_rows(self.variants, answered, (main, metrics[main]), self.baseline, first),
            confusions=confusions(self.variants, answered),
        )

    def _differences(self, metrics: Mapping[str, Metric], answered: Sequence[Answers]) -> Iterator[Differences | None]:
        """Each run to the baseline's run of its seed, or to its first; None for the baseline itself."""
        pairs = list(zip(self.variants, answered, strict=True))
        baseline = {variant.seed: answers for variant, answers in pairs if variant.name == self.baseline}
        first = next(iter(baseline.values()))
        for variant, answers in pairs:
            if variant.name == self.baseline:
                yield None
            else:
                yield _difference(metrics, answers, baseline.get(variant.seed, first), self.seed, self.rules)


def against_recommended(cells: Sequence[Cell], compared: ComparedRuns, recommended: str | None) -> list[Cell]:
    """The cells with their differences to the recommended method, p-values adjusted over all methods."""
    if recommended is None:
        return list(cells)
    pairs = [(cell.name, recommended) for cell in cells if cell.name != recommended]
    found = {name: DifferenceTo(recommended, gaps) for (name, _), gaps in compared.differences(pairs).items()}
    return [replace(cell, to_recommended=found.get(cell.name)) for cell in cells]


def tuned_differences(
    cells: Sequence[Cell], compared: ComparedRuns, costs: Mapping[str, Spending], recommended: str | None
) -> list[TunedDifference]:
    """Every tuned method against every prompted one and against the recommended one, in the main metric.

    A difference to the recommended method is the one that the cell has; the others are one family of p-values.
    """
    known = {cell.name: cell for cell in cells}
    pairs = tuned_and_prompted(costs)
    prompted = list(dict.fromkeys(against for _, against in pairs))
    best = max(prompted, key=lambda name: known[name].scores[compared.main].value, default=None)
    found: dict[tuple[str, str], Differences] = {}
    found |= compared.differences([pair for pair in pairs if pair[1] != recommended], [compared.main])
    if recommended is not None:
        for name, each in costs.items():
            if each.tuned and (gap := known[name].to_recommended) is not None:
                found[name, recommended] = {compared.main: gap.difference[compared.main]}
    roles = {name: ("best prompted",) for name in prompted if name == best}
    if recommended is not None:
        roles[recommended] = (*roles.get(recommended, ()), "recommended")
    return [TunedDifference(name, against, roles.get(against, ()), each) for (name, against), each in found.items()]


def _difference(
    metrics: Mapping[str, Metric], ours: Answers, theirs: Answers, seed: int, rules: Rules
) -> dict[str, Difference]:
    found = {}
    for name, metric in metrics.items():
        with suppress(NotDefinedError):
            found[name] = difference(Side(metric, ours, name), Side(metric, theirs, name), seed, rules.mid_p)
    return found
