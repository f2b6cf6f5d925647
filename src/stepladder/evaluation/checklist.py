"""Ten points to look at before fine-tuning, each with the evidence that a study has for it, or "not measured".

Knows the JSON object of `stepladder compare` and a few facts of the data; measures nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepladder.evaluation.sections import interval, requests
from stepladder.evaluation.verdict import told

NOT_MEASURED = "not measured"
KEPT = 0.95  # the share of valid answers from which a format counts as kept


@dataclass(frozen=True)
class Facts:
    """What of the data and the way of asking the list needs: rows by split, labels of a choice task (None for others),
    the decoding's mode, how many requests are expected (None: not said), the scores of further suites by rung."""

    train: int
    validation: int
    labels: int | None
    rows: Mapping[str, Any]
    decoding: str
    requests: float | None
    suites: Mapping[str, Mapping[str, Mapping[str, Any]]]


def checklist(comparison: Mapping[str, Any], facts: Facts) -> list[dict[str, str]]:
    """Each point with `found` (yes, no, in part, not measured) and its evidence."""
    points = (
        ("The task repeats", _repeats(comparison, facts)),
        ("Success can be measured", _measurable(comparison)),
        ("Good examples are at hand", _examples(facts)),
        ("Prompting is too inconsistent, long or dear", _prompting(comparison, facts)),
        ("Retrieval does not do", _retrieval(comparison)),
        ("The format is strict, and prompting does not keep it", _format(comparison, facts)),
        ("Evaluation is held out", _held_out(comparison, facts)),
        ("There are means to monitor", _suite(facts, ("calibration", "out_of_scope"), "in part")),
        ("Privacy was looked at", (NOT_MEASURED, "Nothing here looks for private data, or for what a model recites.")),
        ("Bias was looked at", _bias(facts)),
    )
    return [{"point": point, "found": found, "evidence": evidence} for point, (found, evidence) in points]


def _repeats(comparison: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    if facts.requests is None:
        return NOT_MEASURED, "Say comparison.requests=N, how many questions you expect to ask in all."
    known = [e for e in comparison.get("break_even", ()) if e["requests"] is not None]
    paid = [e for e in known if e["requests"] <= facts.requests]
    some = "; ".join(f"{e['name']} against {e['against']}: {requests(e)}" for e in paid[:3]) or "none"
    return ("yes" if paid else "no"), f"{facts.requests:,.0f} requests are expected. Paid for by then: {some}."


def _measurable(comparison: Mapping[str, Any]) -> tuple[str, str]:
    metric, best = comparison["verdict"]["metric"], _cell(comparison, comparison["verdict"]["best"])
    score = best["scores"][metric]
    seen = [c["difference"][metric]["detectable"] for c in comparison["cells"] if metric in c.get("difference", {})]
    finest = f" A difference of {min(seen):.3f} to {max(seen):.3f} can be detected." if seen else ""
    return "yes", f"{metric} of the best rung, {best['name']}: {interval(score)} over {score['n']} questions.{finest}"


def _examples(facts: Facts) -> tuple[str, str]:
    rejected = facts.rows.get("rejected", 0)
    each = f", {facts.train / facts.labels:.0f} a label" if facts.labels else ""
    evidence = f"{facts.train:,} training rows{each}, {facts.validation:,} to validate; {rejected} rows rejected. "
    found = "no" if not facts.train else "in part"
    return found, evidence + "Whether their labels are right was not measured."


def _prompting(comparison: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    tuned, prompted = _best(comparison, tuned=True), _best(comparison, tuned=False)
    if tuned is None or prompted is None:
        return NOT_MEASURED, "No tuned rung stands beside a prompted one here."
    metric = comparison["verdict"]["metric"]
    gap = tuned["scores"][metric]["value"] - prompted["scores"][metric]["value"]
    apart = tuned["scores"][metric]["low"] > prompted["scores"][metric]["high"]
    costs = {cell["name"]: _costs(comparison, cell["name"]) for cell in (tuned, prompted)}
    tokens = [costs[cell["name"]].get("prompt_tokens_per_question", 0) for cell in (tuned, prompted)]
    failures = costs[prompted["name"]].get("failures", 0)
    evidence = (
        f"{tuned['name']} {interval(tuned['scores'][metric])}, best prompted {prompted['name']} "
        f"{interval(prompted['scores'][metric])}; {tokens[0]:,.0f} and {tokens[1]:,.0f} prompt tokens a question; "
        f"{failures} of its answers unusable."
    )
    spread = facts.suites.get("robustness", {}).get(prompted["name"])
    evidence += f" {_some(spread)}" if spread else " How much it depends on the prompt's form was not measured."
    return ("yes" if apart else "no" if gap <= 0 else "in part"), evidence


def _retrieval(comparison: Mapping[str, Any]) -> tuple[str, str]:
    metric, found = comparison["verdict"]["metric"], {cell["name"].split(" ")[0]: cell for cell in comparison["cells"]}
    if "rag" not in found:
        return NOT_MEASURED, "There is no rung with retrieval here."
    to_best = found["rag"].get("to_best")
    if to_best is None:
        return "no", f"rag is the best rung: {metric} {interval(found['rag']['scores'][metric])}."
    gap = to_best["difference"][metric]
    behind = gap["value"] < 0 and gap["p_adjusted"] < 0.05
    return ("yes" if behind else "in part"), f"rag against {to_best['name']}, the best: {told(gap, metric)}"


def _format(comparison: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    free = facts.suites.get("format", {})
    prompted, tuned = _best(comparison, tuned=False), _best(comparison, tuned=True)
    if prompted is not None and (valid := free.get(prompted["name"], {}).get("valid")):
        evidence = f"Of free answers are valid: {prompted['name']} {interval(valid)}"
        if tuned is not None and (other := free.get(tuned["name"], {}).get("valid")):
            evidence += f", {tuned['name']} {interval(other)}"
        return ("yes" if valid["high"] < KEPT else "no" if valid["low"] >= KEPT else "in part"), f"{evidence}."
    if facts.decoding in ("choose", "json"):
        return NOT_MEASURED, f"decoding={facts.decoding} gives valid answers always; free answers were not asked for."
    worst = max((_costs(comparison, cell["name"]).get("failures", 0), cell["name"]) for cell in comparison["cells"])
    return "in part", f"Most unusable answers: {worst[0]}, by {worst[1]}."


def _held_out(comparison: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    n = comparison["verdict"]["questions"]
    overlap = facts.rows.get("overlap", 0)
    rows = overlap if isinstance(overlap, int) else sum(v for v in overlap.values() if isinstance(v, int))
    return "yes", (
        f"{n:,} test rows that no fit saw; {rows} overlaps with training rows were dealt with; choices were made on "
        f"{facts.validation:,} validation rows. How often the test rows were looked at before was not measured."
    )


def _bias(facts: Facts) -> tuple[str, str]:
    found = {
        rung: {name: figure for name, figure in scores.items() if name != "all"}
        for rung, scores in facts.suites.get("slices", {}).items()
    }
    rung = next((rung for rung in reversed(found) if found[rung]), None)
    if rung is None:
        return NOT_MEASURED, "Name columns to slice by, or terms to swap: dataset.tags=[...] evaluation=[slices]."
    return "yes", f"slices, {rung}: {_some(found[rung])}"


def _suite(facts: Facts, names: Sequence[str], found: str) -> tuple[str, str]:
    there = [name for name in names if facts.suites.get(name)]
    if not there:
        return NOT_MEASURED, f"Ask for it: evaluation=[{','.join(names)}]."
    last = {name: [*facts.suites[name].items()][-1] for name in there}
    told_ = [f"{name}, {rung}: {_some(scores)}" for name, (rung, scores) in last.items()]
    return found, " ".join(told_)


def _some(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {interval(figure)}" for name, figure in [*scores.items()][:3]) + "."


def _cell(comparison: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next(cell for cell in comparison["cells"] if cell["name"] == name)


def _costs(comparison: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((row["costs"] for row in comparison["rows"] if row["name"] == name), {})


def _best(comparison: Mapping[str, Any], tuned: bool) -> Mapping[str, Any] | None:
    """The best rung that asks a language model, tuned or not."""
    metric = comparison["verdict"]["metric"]
    fitting = [
        cell
        for cell in comparison["cells"]
        if (costs := _costs(comparison, cell["name"])).get("prompt_tokens_per_question")
        and bool(costs.get("training_tokens")) == tuned
    ]
    return max(fitting, key=lambda cell: cell["scores"][metric]["value"], default=None)
