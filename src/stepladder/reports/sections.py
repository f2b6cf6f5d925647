"""The tables of a comparison, the same for report.md and report.html."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from stepladder.config.cells import WITHOUT
from stepladder.evaluation.statistics.estimates import Difference, Measured, mean_over_runs
from stepladder.evaluation.suite import SHORTLIST
from stepladder.evaluation.tables import Table
from stepladder.studies.results import BreakEven, Cell, CellTuning, ComparedRun, Comparison, Verdict

COSTS = {
    "labels_used": ("labels", "{:,.0f}"),
    "trained_parameters": ("trained parameters", "{:,.0f}"),
    "training_seconds": ("training s", "{:,.1f}"),
    "calls_per_question": ("calls/question", "{:,.2f}"),
    "prompt_tokens_per_question": ("prompt tokens/question", "{:,.1f}"),
    "new_tokens_per_question": ("new tokens/question", "{:,.1f}"),
    "seconds_per_question": ("s/question", "{:,.4f}"),
    "seconds_p50": ("p50", "{:,.4f}"),
    "seconds_p95": ("p95", "{:,.4f}"),
    "training_peak_memory": ("training memory, GiB", "{:,.2f}"),
    "peak_memory": ("inference memory, GiB", "{:,.2f}"),
}
TUNED = (
    "Every method was tuned with the same budget on the validation rows; the winners were scored on the test rows. "
    "Luck: by how much the best trial would exceed the others on validation if all were equally good."
)
CORRECTIONS = {"holm": "Holm's method", "benjamini_hochberg": "Benjamini and Hochberg's method"}
COLUMNS = [
    "method", "metric", "against", "difference", "adjusted p", "better : worse", "n", "minimum detectable", "result",
]  # fmt: skip


def heading(verdict: Verdict) -> str:
    """The verdict in a few words."""
    if verdict.recommended:
        return f"Recommended: {verdict.recommended}"
    return f"No recommendation: {verdict.status.replace('_', ' ')}"


def quality(comparison: Comparison) -> Table:
    """Every metric of every method, the main one first."""
    metrics = metrics_of(comparison)
    rows = [[named(cell, comparison), *(interval(cell.scores.get(m)) for m in metrics)] for cell in comparison.cells]
    return Table("Quality", ["method", *metrics], rows, f"Square brackets hold 95% intervals.{retests(comparison)}")


def shortlists(comparison: Comparison) -> Table | None:
    """How often the right label is on the shortlist that a method chooses from: the ceiling of its accuracy."""
    rows = []
    for cell in comparison.cells:
        suites = [next(iter(run.scores.values()), {}) for run in comparison.runs_of(cell.name)]
        if recalls := [suite[SHORTLIST] for suite in suites if SHORTLIST in suite]:
            rows.append([named(cell, comparison), interval(mean_over_runs(recalls))])
    note = "The share of questions whose right label was kept; no accuracy after it can be higher."
    return Table("Shortlists", ["method", "recall of the shortlist"], rows, note) if rows else None


def steps(comparison: Comparison) -> Table | None:
    """What each step of a workflow gives and costs: the whole workflow minus the one without the step."""
    main, rows = comparison.verdict.metric, []
    for cell in comparison.cells:
        step = cell.name.removeprefix(WITHOUT)
        if step == cell.name or cell.difference is None:
            continue
        found = cell.difference[main]
        whole, own = _mean_costs(comparison, comparison.baseline), _mean_costs(comparison, cell.name)
        gain = Measured(-found.value, -found.high, -found.low, found.n)
        more = [f"{here - there:+,.{places}f}" for here, there, places in zip(whole, own, (2, 1, 1, 4), strict=True)]
        rows.append([step, interval(gain, "{:+.3f}"), p_value(found.adjusted_p), *more])
    columns = ["step", main, "adjusted p", "calls/question", "prompt tokens", "new tokens", "s/question"]
    note = "The whole workflow minus the workflow without the step, on the same questions."
    return Table("What each step gives and costs", columns, rows, note) if rows else None


def _mean_costs(comparison: Comparison, name: str) -> list[float]:
    """Calls, prompt tokens, new tokens and seconds per question, means over seeds."""
    runs = comparison.runs_of(name)
    names = ("calls_per_question", "prompt_tokens_per_question", "new_tokens_per_question", "seconds_per_question")
    return [fmean(run.costs.figure(each) or 0.0 for run in runs) for each in names]


def retests(comparison: Comparison) -> str:
    """What intervals do not cover of a model behind an API: how often its answers change when it is asked again."""
    found = []
    for row in comparison.rows:
        count, share = (row.costs.figure(f"retest_{name}") for name in ("questions", "changed"))
        if count and share is not None:
            found.append(f"{share:.1%} of {count:,.0f} answers of {row.name}")
    if not found:
        return ""
    return f" When asked twice, {', '.join(found)} changed; the intervals do not include this variation."


def to_recommended(comparison: Comparison) -> Table | None:
    """Every method against the recommended one, for every metric; against the best where none is recommended."""
    recommended = comparison.verdict.recommended
    others = [(cell, cell.to_recommended if recommended else cell.to_best) for cell in comparison.cells]
    rows = [
        [named(cell, comparison), metric, other.name, *_difference(other.difference[metric])]
        for cell, other in others
        for metric in metrics_of(comparison)
        if other is not None and metric in other.difference
    ]
    if not rows:
        return None
    what = "recommended" if recommended else "best"
    note = f"Differences to the {what} method, p adjusted over all methods. {_tests(comparison)}"
    return Table(f"Differences to the {what} method", COLUMNS, rows, note)


def tuned_differences(comparison: Comparison) -> Table | None:
    """Every tuned method against every prompted one and the recommended one, in the main metric."""
    main = comparison.verdict.metric
    rows = []
    for each in comparison.tuned_differences:
        against = f"{each.against} ({', '.join(each.roles)})" if each.roles else each.against
        rows.append([each.name, main, against, *_difference(each.difference[main])])
    note = (
        "p of the differences to prompted methods is adjusted over all of them; a difference to the recommended method "
        "is the one of the table above."
    )
    return Table("Tuned methods against other methods", COLUMNS, rows, note) if rows else None


def differences(comparison: Comparison) -> Table:
    """Every method against the baseline and against the next simpler method, for every metric."""
    rows = [
        [named(cell, comparison), metric, other, *_difference(found)]
        for cell in comparison.cells
        for metric in metrics_of(comparison)
        for other, found in _against(cell, comparison.baseline, metric)
    ]
    note = (
        "p is adjusted over all methods against the baseline, and apart from that over all methods against the next "
        f"simpler one. {_tests(comparison)}"
    )
    return Table("Differences to the baseline and to the next simpler method", COLUMNS, rows, note)


def _tests(comparison: Comparison) -> str:
    test = "McNemar's test with mid-p" if comparison.rules.mid_p else "McNemar's exact test"
    return (
        f"Differences are paired: both methods answered the same questions. p is two-sided ({test} for right or wrong, "
        "a permutation test for graded scores, resampling where there are several seeds) and adjusted by "
        f"{CORRECTIONS[comparison.rules.correction]}. The minimum detectable effect is found with 80% power after "
        "adjustment: where there is no significant difference, a smaller one may exist."
    )


def costs(comparison: Comparison) -> Table:
    """What a method costs, means over its seeds."""
    shown = [name for name in COSTS if any(row.costs.figure(name) is not None for row in comparison.rows)]
    if all((row.costs.calls_per_question or 0) <= 1 for row in comparison.rows):
        shown = [name for name in shown if name != "calls_per_question"]
    rows = [
        [named(cell, comparison), *(_cost(name, comparison.runs_of(cell.name)) for name in shown)]
        for cell in comparison.cells
    ]
    note = "Means over seeds. Seconds are a question's share of its batch; p50 and p95 are over questions."
    if "peak_memory" in shown or "training_peak_memory" in shown:
        note += " Memory is peak process memory, including what was already loaded."
    return Table("Costs", ["method", *(COSTS[name][0] for name in shown)], rows, note)


def bills(comparison: Comparison) -> Table:
    """Setup and request of every method, in one unit."""
    found = comparison.bills
    unit, (many, words) = found.unit, per(found.unit)
    rows = [
        [name, f"{each.setup_seconds:,.1f}", f"{each.labels:,.0f}", f"{each.setup:,.4g}", f"{each.request * many:,.3g}"]
        for name, each in found.methods.items()
    ]
    columns = ["method", "fit and search s", "labels", f"setup, {unit}", words]
    note = "The setup includes the whole fit, with loading and validation, and all trials of a search."
    return Table(
        "Setup and request", columns, rows, note if unit != "s" else f"{note} Without prices, seconds are counted."
    )


def break_even(comparison: Comparison) -> Table | None:
    """The break-even of each tuned method against the prompted ones that are not significantly better."""
    found = comparison.break_even
    if not found:
        return None
    unit, main = comparison.bills.unit, comparison.verdict.metric
    many, words = per(unit)
    scores = {cell.name: cell.scores[main].value for cell in comparison.cells}
    rows = [
        [
            each.name,
            each.against,
            f"{scores[each.name] - scores[each.against]:+.3f}",
            f"{each.setup:,.4g}",
            _saved(each, many),
            requests(each),
            f"{each.tokens_saved:,.1f}",
        ]
        for each in found
    ]
    columns = [
        "tuned", "against", main, f"extra setup, {unit}", f"saved by {words}", "break-even, requests",
        "prompt tokens saved",
    ]  # fmt: skip
    note = (
        "Break-even = extra setup / saving per request, both asked the same questions. The interval is that of the "
        "saving over questions; it does not include how much the time of a training varies."
    )
    if not all(each.measured for each in found):
        note += " There is no interval where the costs of the questions do not differ (times are measured per batch)."
    if left_out := comparison.no_break_even:
        pairs = ", ".join(f"{name} against {against}" for name, against in left_out)
        note += f" Left out, because the tuned method is significantly worse: {pairs}."
    return Table("Break-even", columns, rows, note)


def _saved(each: BreakEven, many: float) -> str:
    low, high = (each.saved if end is None else end for end in (each.saved_low, each.saved_high))
    return interval(Measured(each.saved * many, low * many, high * many, 0), "{:,.4g}")


def requests(each: BreakEven) -> str:
    """A break-even in words, with its interval where it has one that is not a point."""
    if each.until is not None:
        return f"cheaper up to {each.until:,} requests, then never"
    if each.requests is None:
        return "never" if each.low is None else f"never [{each.low:,}, never]"
    if not each.measured or each.low == each.high:
        return f"{each.requests:,}"
    high = "never" if each.high is None else f"{each.high:,}"
    return f"{each.requests:,} [{each.low or 0:,}, {high}]"


def per(unit: str) -> tuple[float, str]:
    """For how many requests a price is given: seconds for one, money for a million."""
    return (1.0, "a request, s") if unit == "s" else (1e6, f"a million requests, {unit}")


def tuning(comparison: Comparison) -> Table | None:
    """What the search of each method tried and found."""
    if not comparison.tuning:
        return None
    main, rows = metrics_of(comparison)[0], []
    for cell in comparison.cells:
        found = comparison.tuning.get(cell.name, CellTuning())
        value = "" if found.value is None else f"{found.value:.3f}"
        spent = [f"{found.trials}", f"{found.seconds:,.0f}", f"{found.training_tokens:,}"]
        winner = " ".join(found.overrides) or "nothing to tune"
        luck = "" if found.luck is None else f"+{found.luck.value:.3f}"
        rows.append([named(cell, comparison), *spent, winner, value, luck, interval(cell.scores.get(main))])
    columns = ["method", "trials", "s", "training tokens", "winner", "on validation", "luck", f"{main} on test"]
    return Table("Tuning", columns, rows, TUNED)


def checklist(comparison: Comparison) -> Table | None:
    """The points of the checklist, each with the evidence that this study has."""
    rows = [[each.point, each.found, each.evidence] for each in comparison.checklist]
    return Table("Before fine-tuning", ["point", "found", "evidence"], rows) if rows else None


def preflight(comparison: Comparison) -> Table | None:
    """What the preflight checks found, by method."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in comparison.rows:
        for each in row.preflight:
            found.setdefault((row.name, each.name), {})[each.message] = None
    rows = [[name, check, "; ".join(results)] for (name, check), results in found.items()]
    return Table("Preflight checks", ["method", "check", "result"], rows) if rows else None


def row_counts(comparison: Comparison) -> str:
    """The counts of the data's rows, in one sentence; every run of a comparison has the same data."""
    counts = vars(comparison.rows[0].rows)
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if isinstance(count, int))


def metrics_of(comparison: Comparison) -> list[str]:
    """The main metric first, then the others as they come."""
    names = dict.fromkeys(metric for cell in comparison.cells for metric in cell.scores)
    return sorted(names, key=lambda name: name != comparison.verdict.metric)


def named(cell: Cell, comparison: Comparison) -> str:
    return titled(cell.name, len(comparison.runs_of(cell.name)))


def titled(name: str, runs: int) -> str:
    """A method's name, with the number of its seeds where it has several."""
    return name if runs < 2 else f"{name} ({runs} seeds)"


def seeds_of(comparison: Comparison) -> str:
    """Which methods have several seeds, in a few words; empty where none has."""
    by_count: dict[int, list[str]] = {}
    for cell in comparison.cells:
        by_count.setdefault(len(comparison.runs_of(cell.name)), []).append(cell.name)
    known = []
    for count, names in by_count.items():
        listed = ", ".join(names)
        which = listed if len(listed) <= 60 else f"{len(names)} of {len(comparison.cells)} methods"
        if count > 1:
            known.append(f"mean over {count} seeds: {which}")
    return "; ".join(known)


def interval(found: Measured | Difference | None, form: str = "{:.3f}") -> str:
    """A value with its interval; the value alone where the interval has equal ends."""
    if found is None:
        return ""
    value, low, high = (form.format(each + 0.0) for each in (found.value, found.low, found.high))
    return value if value == low == high else f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _against(cell: Cell, baseline: str, metric: str) -> Iterator[tuple[str, Difference]]:
    if cell.difference is not None and metric in cell.difference:
        yield baseline, cell.difference[metric]
    if cell.to_below is not None and cell.to_below.name != baseline and metric in cell.to_below.difference:
        yield f"{cell.to_below.name} (next simpler)", cell.to_below.difference[metric]


def _difference(found: Difference) -> list[str]:
    discordant = "" if found.wins is None else f"{found.wins} : {found.losses}"
    result = "no significant difference" if found.p >= 0.05 else "not significant after adjustment"
    if found.better or found.worse:
        result = "better" if found.better else "worse"
    detectable = f"{found.detectable:.3f}"
    return [interval(found, "{:+.3f}"), p_value(found.adjusted_p), discordant, f"{found.n:,}", detectable, result]


def _cost(name: str, runs: Sequence[ComparedRun]) -> str:
    known = [figure for run in runs if (figure := run.costs.figure(name)) is not None]
    scale = 2**30 if name.endswith("memory") else 1
    return COSTS[name][1].format(fmean(known) / scale) if known else ""
