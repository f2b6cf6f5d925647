"""The tables of a comparison as exhibits, the same for Markdown and page.

Reads the JSON object of `stepladder compare` and nothing behind it; computes no statistics and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from stepladder.evaluation.exhibits import Table
from stepladder.studies.ladder import beats, trails

COSTS = {
    "labels_used": ("labels", "{:,.0f}"),
    "trained_parameters": ("trained parameters", "{:,.0f}"),
    "training_seconds": ("training s", "{:,.1f}"),
    "prompt_tokens_per_question": ("prompt tokens/question", "{:,.1f}"),
    "new_tokens_per_question": ("new tokens/question", "{:,.1f}"),
    "seconds_per_question": ("s/question", "{:,.4f}"),
    "seconds_p50": ("p50", "{:,.4f}"),
    "seconds_p95": ("p95", "{:,.4f}"),
    "training_peak_memory": ("training memory, GiB", "{:,.2f}"),
    "peak_memory": ("inference memory, GiB", "{:,.2f}"),
}
TUNED = "Every method was tuned with the same budget on the validation rows; the winners were scored on the test rows."
SAVED = {"value": "", "low": "_low", "high": "_high"}
CORRECTIONS = {"holm": "Holm's method", "benjamini_hochberg": "Benjamini and Hochberg's method"}
COLUMNS = [
    "method", "metric", "against", "difference", "adjusted p", "better : worse", "n", "minimum detectable", "result",
]  # fmt: skip


def heading(verdict: Mapping[str, Any]) -> str:
    """The verdict in a few words."""
    if verdict["recommended"]:
        return f"Recommended: {verdict['recommended']}"
    why = {
        "too_few_rows": "too few rows",
        "no_method_works": "no method works",
        "target_not_reached": "target not reached",
    }
    status = verdict.get("status")
    return f"No recommendation: {why[status]}" if status in why else "No recommendation"


def quality(comparison: Mapping[str, Any]) -> Table:
    """Every metric of every method, the main one first."""
    metrics = metrics_of(comparison)
    rows = [
        [named(cell, comparison), *(interval(cell["scores"].get(metric)) for metric in metrics)]
        for cell in comparison["cells"]
    ]
    return Table("Quality", ["method", *metrics], rows, "Square brackets hold 95% intervals.")


def to_recommended(comparison: Mapping[str, Any]) -> Table | None:
    """Every method against the recommended one, for every metric; against the best where none is recommended."""
    rows: list[list[str]] = []
    recommended = comparison["verdict"]["recommended"]
    for cell in comparison["cells"]:
        against = cell.get("to_recommended" if recommended else "to_best")
        for metric in metrics_of(comparison) if against else ():
            if found := against["difference"].get(metric):
                rows.append([named(cell, comparison), metric, against["name"], *_difference(found)])
    if not rows:
        return None
    what = "recommended" if recommended else "best"
    note = f"Differences to the {what} method, p adjusted over all methods. {_tests(comparison)}"
    return Table(f"Differences to the {what} method", COLUMNS, rows, note)


def tuned_differences(comparison: Mapping[str, Any]) -> Table | None:
    """Every tuned method against every prompted one and the recommended one, in the main metric."""
    main = comparison["verdict"]["metric"]
    rows = [
        [each["name"], main, _with_roles(each), *_difference(each["difference"][main])]
        for each in comparison.get("tuned_differences", ())
    ]
    note = (
        "p of the differences to prompted methods is adjusted over all of them; a difference to the recommended method "
        "is the one of the table above."
    )
    return Table("Tuned methods against other methods", COLUMNS, rows, note) if rows else None


def differences(comparison: Mapping[str, Any]) -> Table:
    """Every method against the baseline and against the next simpler method, for every metric."""
    rows = []
    for cell in comparison["cells"]:
        for metric in metrics_of(comparison):
            for other, found in _against(cell, comparison["baseline"], metric):
                rows.append([named(cell, comparison), metric, other, *_difference(found)])
    note = (
        "p is adjusted over all methods against the baseline, and apart from that over all methods against the next "
        f"simpler one. {_tests(comparison)}"
    )
    return Table("Differences to the baseline and to the next simpler method", COLUMNS, rows, note)


def _tests(comparison: Mapping[str, Any]) -> str:
    rules = comparison.get("rules") or {}
    test = "McNemar's test with mid-p" if rules.get("mid_p") else "McNemar's exact test"
    return (
        f"Differences are paired: both methods answered the same questions. p is two-sided ({test} for right or wrong, "
        "a permutation test for graded scores, resampling where there are several seeds) and adjusted by "
        f"{CORRECTIONS[rules.get('correction', 'holm')]}. The minimum detectable effect is found with 80% power after "
        "adjustment: where there is no significant difference, a smaller one may exist."
    )


def _with_roles(each: Mapping[str, Any]) -> str:
    return f"{each['against']} ({', '.join(each['roles'])})" if each["roles"] else str(each["against"])


def costs(comparison: Mapping[str, Any]) -> Table:
    """What a method costs, means over its seeds."""
    rows = []
    shown = [name for name in COSTS if any(row["costs"].get(name) is not None for row in comparison["rows"])]
    for cell in comparison["cells"]:
        runs: list[Mapping[str, Any]] = [row["costs"] for row in comparison["rows"] if row["name"] == cell["name"]]
        rows.append([named(cell, comparison), *(_cost(name, runs) for name in shown)])
    note = "Means over seeds. Seconds are a question's share of its batch; p50 and p95 are over questions."
    if "peak_memory" in shown or "training_peak_memory" in shown:
        note += " Memory is the peak of the process, including what was already loaded."
    return Table("Costs", ["method", *(COSTS[name][0] for name in shown)], rows, note)


def bills(comparison: Mapping[str, Any]) -> Table | None:
    """Setup and request of every method, in one unit."""
    found = comparison.get("bills")
    if not found:
        return None
    unit, (many, words) = found["unit"], per(found["unit"])
    rows = [
        [
            name,
            f"{each['setup_seconds']:,.1f}",
            f"{each['labels']:,.0f}",
            f"{each['setup']:,.4g}",
            f"{each['request'] * many:,.3g}",
        ]
        for name, each in found["rungs"].items()
    ]
    columns = ["method", "fit and search s", "labels", f"setup, {unit}", words]
    note = "The setup includes the whole fit, with loading and validation, and all trials of a search."
    return Table(
        "Setup and request", columns, rows, note if unit != "s" else f"{note} Without prices, seconds are counted."
    )


def break_even(comparison: Mapping[str, Any]) -> Table | None:
    """The break-even of each tuned method against the prompted ones that are not significantly better."""
    found = comparison.get("break_even")
    if not found:
        return None
    unit, main = comparison["bills"]["unit"], comparison["verdict"]["metric"]
    many, words = per(unit)
    scores = {cell["name"]: cell["scores"][main]["value"] for cell in comparison["cells"]}
    rows = [
        [
            each["name"],
            each["against"],
            f"{scores[each['name']] - scores[each['against']]:+.3f}",
            f"{each['setup']:,.4g}",
            _saved(each, many),
            requests(each),
            f"{each['tokens_saved']:,.1f}",
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
    if not all(each.get("measured", True) for each in found):
        note += " There is no interval where the costs of the questions do not differ (times are measured per batch)."
    if left_out := comparison.get("no_break_even"):
        pairs = ", ".join(f"{name} against {against}" for name, against in left_out)
        note += f" Left out, because the tuned method is significantly worse: {pairs}."
    return Table("Break-even", columns, rows, note)


def _saved(each: Mapping[str, Any], many: float) -> str:
    known = each["saved_low"] is not None
    figures = {key: each[f"saved{end if known else ''}"] * many for key, end in SAVED.items()}
    return interval(figures, "{:,.4g}") if known else f"{figures['value']:,.4g}"


def requests(each: Mapping[str, Any]) -> str:
    """A break-even in words, with its interval where it has one that is not a point."""
    if each["until"] is not None:
        return f"cheaper up to {each['until']:,} requests, then never"
    if each["requests"] is None:
        return "never" if each["low"] is None else f"never [{each['low']:,}, never]"
    if not each.get("measured", True) or each["low"] == each["high"]:
        return f"{each['requests']:,}"
    high = "never" if each["high"] is None else f"{each['high']:,}"
    return f"{each['requests']:,} [{each['low'] or 0:,}, {high}]"


def per(unit: str) -> tuple[float, str]:
    """For how many requests a price is given: seconds for one, money for a million."""
    return (1.0, "a request, s") if unit == "s" else (1e6, f"a million requests, {unit}")


def tuning(comparison: Mapping[str, Any]) -> Table | None:
    """What each method's search tried and found."""
    if not comparison.get("tuning"):
        return None
    main, rows = metrics_of(comparison)[0], []
    for cell in comparison["cells"]:
        found = comparison["tuning"].get(cell["name"], {})
        value = "" if found.get("value") is None else f"{found['value']:.3f}"
        spent = [
            f"{found.get('trials', 0)}",
            f"{found.get('seconds', 0.0):,.0f}",
            f"{found.get('training_tokens', 0):,}",
        ]
        winner = " ".join(found.get("overrides", [])) or "nothing to tune"
        rows.append([named(cell, comparison), *spent, winner, value, interval(cell["scores"].get(main))])
    columns = ["method", "trials", "s", "training tokens", "winner", "on validation", f"{main} on test"]
    return Table("Tuning", columns, rows, TUNED)


def checklist(comparison: Mapping[str, Any]) -> Table | None:
    """The points of the checklist, each with the evidence that this study has."""
    rows = [[each["point"], each["found"], each["evidence"]] for each in comparison.get("checklist", ())]
    return Table("Before fine-tuning", ["point", "found", "evidence"], rows) if rows else None


def gate(comparison: Mapping[str, Any]) -> Table | None:
    """What the preflight checks found, by method."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in comparison["rows"]:
        for each in row.get("gate", ()):
            found.setdefault((row["name"], each["name"]), {})[each["told"]] = None
    rows = [[name, check, "; ".join(results)] for (name, check), results in found.items()]
    return Table("Preflight checks", ["method", "check", "result"], rows) if rows else None


def row_account(comparison: Mapping[str, Any]) -> str:
    """The counts of the data's rows, in one sentence; every run of a comparison has the same data."""
    found: Mapping[str, Any] = next((row["rows"] for row in comparison["rows"] if row.get("rows")), {})
    return ", ".join(f"{name} {found[name]:,}" for name in found if isinstance(found[name], int))


def metrics_of(comparison: Mapping[str, Any]) -> list[str]:
    """The main metric first, then the others as they come."""
    names = dict.fromkeys(metric for cell in comparison["cells"] for metric in cell["scores"])
    main = comparison["verdict"].get("metric")
    return sorted(names, key=lambda name: name != main)


def named(cell: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    return titled(str(cell["name"]), sum(row["name"] == cell["name"] for row in comparison["rows"]))


def titled(name: str, runs: int) -> str:
    """A method's name, with the number of its seeds where it has several."""
    return name if runs < 2 else f"{name} ({runs} seeds)"


def seeds_of(comparison: Mapping[str, Any]) -> str:
    """Which methods have several seeds, in a few words; empty where none has."""
    by_count: dict[int, list[str]] = {}
    for cell in comparison["cells"]:
        runs = sum(row["name"] == cell["name"] for row in comparison["rows"])
        by_count.setdefault(runs, []).append(str(cell["name"]))
    known = []
    for count, names in by_count.items():
        listed = ", ".join(names)
        which = listed if len(listed) <= 60 else f"{len(names)} of {len(comparison['cells'])} methods"
        known += [f"mean over {count} seeds: {which}"] if count > 1 else []
    return "; ".join(known)


def interval(found: Mapping[str, Any] | None, form: str = "{:.3f}") -> str:
    """A value with its interval; the value alone where the interval has equal ends."""
    if not found:
        return ""
    value, low, high = (form.format(found[key] + 0.0) for key in ("value", "low", "high"))
    return value if value == low == high else f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _against(cell: Mapping[str, Any], baseline: str, metric: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    below = cell.get("to_below") or {"name": None, "difference": {}}
    if found := cell.get("difference", {}).get(metric):
        yield baseline, found
    if below["name"] != baseline and (found := below["difference"].get(metric)):
        yield f"{below['name']} (next simpler)", found


def _difference(found: Mapping[str, Any]) -> list[str]:
    discordant = "" if found["wins"] is None else f"{found['wins']} : {found['losses']}"
    result = "no significant difference" if found["p"] >= 0.05 else "not significant after adjustment"
    if beats(found) or trails(found):
        result = "better" if found["value"] > 0 else "worse"
    detectable = f"{found['detectable']:.3f}"
    return [interval(found, "{:+.3f}"), p_value(found["p_adjusted"]), discordant, f"{found['n']:,}", detectable, result]


def _cost(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    values = [run[name] / (2**30 if name.endswith("memory") else 1) for run in runs if run.get(name) is not None]
    return COSTS[name][1].format(fmean(values)) if values else ""
