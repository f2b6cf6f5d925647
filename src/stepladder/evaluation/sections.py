"""The tables of a comparison as exhibits, the same for Markdown, terminal and page.

Knows the JSON object of `stepladder compare` and nothing behind it; computes no statistics and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from stepladder.evaluation.exhibits import Table

COSTS = {
    "labels_used": ("labels", "{:,.0f}"),
    "trained_parameters": ("trained parameters", "{:,.0f}"),
    "training_seconds": ("training s", "{:,.1f}"),
    "prompt_tokens_per_question": ("prompt tokens/question", "{:,.1f}"),
    "new_tokens_per_question": ("new tokens/question", "{:,.1f}"),
    "seconds_per_question": ("s/question", "{:,.4f}"),
    "seconds_p50": ("p50", "{:,.4f}"),
    "seconds_p95": ("p95", "{:,.4f}"),
    "training_peak_memory": ("memory GiB, training", "{:,.2f}"),
    "peak_memory": ("memory GiB, answering", "{:,.2f}"),
}
TUNED = (
    "Every rung was tuned with the same budget, on the validation rows; each winner was then scored on the test rows."
)
SAVED = {"value": "", "low": "_low", "high": "_high"}
CORRECTIONS = {"holm": "Holm's method", "benjamini_hochberg": "Benjamini and Hochberg's method"}


def quality(comparison: Mapping[str, Any]) -> Table:
    """Every metric of every rung, the main one first."""
    metrics = metrics_of(comparison)
    rows = [
        [named(cell, comparison), *(interval(cell["scores"].get(metric)) for metric in metrics)]
        for cell in comparison["cells"]
    ]
    return Table("Quality", ["rung", *metrics], rows, "Square brackets hold 95 % intervals.")


def differences(comparison: Mapping[str, Any]) -> Table:
    """Every rung against the baseline and against the rung below, for every metric."""
    columns = ["rung", "metric", "against", "difference", "adjusted p", "better : worse", "n", "detectable", "found"]
    rows = []
    for cell in comparison["cells"]:
        for metric in metrics_of(comparison):
            for other, found in _against(cell, comparison["baseline"], metric):
                rows.append([named(cell, comparison), metric, other, *_difference(found)])
    rules = comparison.get("rules") or {}
    test = "McNemar's test with mid-p" if rules.get("mid_p") else "McNemar's exact test"
    note = (
        f"Differences are paired: both rungs answered the same questions. p is two-sided ({test} for right or wrong, a "
        f"permutation test for graded scores, resampling where there are several seeds), adjusted over all rungs by "
        f"{CORRECTIONS[rules.get('correction', 'holm')]}. Detectable is the smallest difference that such a comparison "
        "finds four times in five, after adjustment: where nothing was found, a smaller one may still be there."
    )
    return Table("Differences", columns, rows, note)


def costs(comparison: Mapping[str, Any]) -> Table:
    """What a rung costs, means over its seeds."""
    rows = []
    shown = [name for name in COSTS if any(row["costs"].get(name) is not None for row in comparison["rows"])]
    for cell in comparison["cells"]:
        runs: list[Mapping[str, Any]] = [row["costs"] for row in comparison["rows"] if row["name"] == cell["name"]]
        rows.append([named(cell, comparison), *(_cost(name, runs) for name in shown)])
    note = "Means over seeds. Seconds are a question's share of its batch; p50 and p95 are over questions."
    if "peak_memory" in shown or "training_peak_memory" in shown:
        note += " Memory is the process's height while it worked, with all that it held already."
    return Table("Costs", ["rung", *(COSTS[name][0] for name in shown)], rows, note)


def bills(comparison: Mapping[str, Any]) -> Table | None:
    """Setup and request of every rung, in one unit."""
    told = comparison.get("bills")
    if not told:
        return None
    unit, (many, words) = told["unit"], per(told["unit"])
    rows = [
        [
            name,
            f"{each['setup_seconds']:,.1f}",
            f"{each['labels']:,.0f}",
            f"{each['setup']:,.4g}",
            f"{each['request'] * many:,.3g}",
        ]
        for name, each in told["rungs"].items()
    ]
    columns = ["rung", "fit and search s", "labels", f"setup, {unit}", words]
    note = "A fit counts whole, with loading and validation; a search with all of its trials."
    return Table(
        "Setup and request", columns, rows, note if unit != "s" else f"{note} No prices are given: seconds count."
    )


def break_even(comparison: Mapping[str, Any]) -> Table | None:
    """After how many requests each tuned rung has paid for itself."""
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
            interval({key: each[f"saved{end}"] * many for key, end in SAVED.items()}, "{:,.4g}"),
            requests(each),
            f"{each['tokens_saved']:,.1f}",
        ]
        for each in found
    ]
    columns = [
        "tuned", "against", main, f"dearer to set up, {unit}", f"saved by {words}", "paid for itself after",
        "prompt tokens saved",
    ]  # fmt: skip
    note = (
        "Requests = what more the setup costs / what less a request costs, both asked the same questions. The interval "
        "is that of the saving over questions; what training would cost another time is not in it."
    )
    return Table("Break-even", columns, rows, note)


def requests(each: Mapping[str, Any]) -> str:
    """A break-even in words."""
    if each["until"] is not None:
        return f"cheaper up to {each['until']:,} requests, then never"
    if each["requests"] is None:
        return "never" if each["low"] is None else f"never [{each['low']:,}, never]"
    high = "never" if each["high"] is None else f"{each['high']:,}"
    return f"{each['requests']:,} [{each['low'] or 0:,}, {high}]"


def per(unit: str) -> tuple[float, str]:
    """How many requests a price is told for: seconds for one, money for a million."""
    return (1.0, "a request, s") if unit == "s" else (1e6, f"a million requests, {unit}")


def tuning(comparison: Mapping[str, Any]) -> Table | None:
    """What each rung's search looked at and found."""
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
    columns = ["rung", "trials", "s", "training tokens", "winner", "on validation", f"{main} on test"]
    return Table("Tuning", columns, rows, TUNED)


def checklist(comparison: Mapping[str, Any]) -> Table | None:
    """Ten points, each with the evidence that this study has."""
    rows = [[each["point"], each["found"], each["evidence"]] for each in comparison.get("checklist", ())]
    return Table("Before fine-tuning", ["point", "found", "evidence"], rows) if rows else None


def gate(comparison: Mapping[str, Any]) -> Table | None:
    """What was looked at before the first step, by rung."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for row in comparison["rows"]:
        for each in row.get("gate", ()):
            found.setdefault((row["name"], each["name"]), {})[each["told"]] = None
    rows = [[rung, name, "; ".join(told)] for (rung, name), told in found.items()]
    return Table("Before the first step", ["rung", "gate", "found"], rows) if rows else None


def row_account(comparison: Mapping[str, Any]) -> str:
    """What the data's rows came to, in one sentence; every row of a comparison has the same data."""
    found: Mapping[str, Any] = next((row["rows"] for row in comparison["rows"] if row.get("rows")), {})
    return ", ".join(f"{name} {found[name]:,}" for name in found if isinstance(found[name], int))


def metrics_of(comparison: Mapping[str, Any]) -> list[str]:
    """The main metric first, then the others as they come."""
    names = dict.fromkeys(metric for cell in comparison["cells"] for metric in cell["scores"])
    main = comparison["verdict"].get("metric")
    return sorted(names, key=lambda name: name != main)


def named(cell: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    runs = sum(row["name"] == cell["name"] for row in comparison["rows"])
    return str(cell["name"]) if runs < 2 else f"{cell['name']} ({runs} seeds)"


def interval(found: Mapping[str, Any] | None, form: str = "{:.3f}") -> str:
    if not found:
        return ""
    value, low, high = (form.format(found[key] + 0.0) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def p_value(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _against(cell: Mapping[str, Any], baseline: str, metric: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    below = cell.get("to_below") or {"name": None, "difference": {}}
    if found := cell.get("difference", {}).get(metric):
        yield baseline, found
    if below["name"] != baseline and (found := below["difference"].get(metric)):
        yield f"{below['name']}, the rung below", found


def _difference(found: Mapping[str, Any]) -> list[str]:
    discordant = "" if found["wins"] is None else f"{found['wins']} : {found['losses']}"
    if found["p_adjusted"] < 0.05:
        told = "better" if found["value"] > 0 else "worse"
    else:
        told = "no difference found" if found["p"] >= 0.05 else "none after adjustment"
    detectable = f"{found['detectable']:.3f}"
    return [interval(found, "{:+.3f}"), p_value(found["p_adjusted"]), discordant, f"{found['n']:,}", detectable, told]


def _cost(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    values = [run[name] / (2**30 if name.endswith("memory") else 1) for run in runs if run.get(name) is not None]
    return COSTS[name][1].format(fmean(values)) if values else ""
