"""The checklist before fine-tuning: each point with the evidence of the study, or "not measured"."""

from __future__ import annotations

from collections.abc import Mapping

from stepladder.evaluation.statistics.estimates import Measured
from stepladder.reports.sections import interval, requests
from stepladder.runs.costs import Costs
from stepladder.studies.evidence import DataFacts
from stepladder.studies.results import Cell, CheckItem, Comparison
from stepladder.studies.verdict import describe

NOT_MEASURED = "not measured"
KEPT = 0.95  # the share of valid answers from which a format counts as kept


def checklist(comparison: Comparison, facts: DataFacts) -> tuple[CheckItem, ...]:
    """Each point with `found` (yes, no, in part, not measured) and its evidence."""
    points = (
        ("The task repeats", _repeats(comparison, facts)),
        ("Tuning breaks even", _breaks_even(comparison, facts)),
        ("Success can be measured", _measurable(comparison)),
        ("Good examples are available", _examples(facts)),
        ("Prompting is too inconsistent, long or expensive", _prompting(comparison, facts)),
        ("Retrieval is not sufficient", _retrieval(comparison, facts)),
        ("The format is strict, and prompting does not keep it", _format(comparison, facts)),
        ("Evaluation is held out", _held_out(comparison, facts)),
        ("Quality can be monitored", _monitoring(facts)),
        ("Privacy was checked", (NOT_MEASURED, "No check looks for private data, or for memorised training rows.")),
        ("Bias was checked", _bias(facts)),
    )
    return tuple(CheckItem(point, *found) for point, found in points)


def _repeats(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    """Whether more requests are expected than rows were labelled: fewer could be answered by hand."""
    if facts.requests is None:
        return NOT_MEASURED, "Set comparison.requests=N, the number of requests that you expect in all."
    labelled = facts.train + facts.validation + comparison.verdict.questions
    more = facts.requests > labelled
    than = "more" if more else "not more"
    evidence = f"{facts.requests:,.0f} requests are expected, {than} than the {labelled:,} labelled rows of this study."
    return ("yes" if more else "no"), evidence


def _breaks_even(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    known = comparison.break_even
    if not known:
        if comparison.no_break_even:
            return "no", "Every tuned method is significantly worse than the prompted ones."
        return NOT_MEASURED, "There is no tuned method beside a prompted one."
    # the earliest first: where some are never reached, they say less
    first = sorted(known, key=lambda each: (each.requests is None, each.requests or 0))[:3]
    after = "Break-even: " + "; ".join(f"{e.name} against {e.against}: {requests(e)}" for e in first) + "."
    if facts.requests is None:
        return NOT_MEASURED, f"{after} Set comparison.requests=N, the number of requests that you expect in all."
    paid = [e for e in known if e.requests is not None and e.requests <= facts.requests]
    return ("yes" if paid else "no"), f"{facts.requests:,.0f} requests are expected. {after}"


def _measurable(comparison: Comparison) -> tuple[str, str]:
    verdict = comparison.verdict
    metric, best = verdict.metric, comparison.cell(verdict.best)
    score = best.scores[metric]
    seen = [c.difference[metric].detectable for c in comparison.cells if c.difference and metric in c.difference]
    finest = f" Minimum detectable effect: {min(seen):.3f} to {max(seen):.3f} (80% power)." if seen else ""
    evidence = f"{metric} of the best method, {best.name}: {interval(score)} over {score.n:,} questions.{finest}"
    if verdict.status == "too_few_rows":
        return "no", f"{evidence} Too few test rows; about {verdict.rows_needed:,} are needed."
    return "yes", evidence


def _examples(facts: DataFacts) -> tuple[str, str]:
    each = f", {facts.train / facts.labels:.0f} per label" if facts.labels else ""
    counts = f"{facts.train:,} training rows{each}; {facts.validation:,} validation rows"
    evidence = f"{counts}; {facts.rows.rejected} rows rejected. "
    found = "no" if not facts.train else "in part"
    return found, evidence + "Whether their labels are right was not measured."


def _prompting(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    tuned, prompted = _best(comparison, tuned=True), _best(comparison, tuned=False)
    if tuned is None or prompted is None:
        return NOT_MEASURED, "There is no tuned method beside a prompted one."
    metric = comparison.verdict.metric
    gap = next(
        each.difference[metric]
        for each in comparison.tuned_differences
        if (each.name, each.against) == (tuned.name, prompted.name)
    )
    costs = {cell.name: _costs(comparison, cell.name) for cell in (tuned, prompted)}
    tokens = [costs[cell.name].prompt_tokens_per_question for cell in (tuned, prompted)]
    failures = costs[prompted.name].failures
    evidence = (
        f"{tuned.name} against {prompted.name}, the best prompted method: {describe(gap, metric)} {tokens[0]:,.0f} "
        f"and {tokens[1]:,.0f} prompt tokens per question; {failures} unusable answers of {prompted.name}."
    )
    spread = facts.suites.get("robustness", {}).get(prompted.name)
    unknown = _ask(facts, "robustness", "Sensitivity to the prompt was not measured")
    evidence += f" {_some(spread) if spread else unknown}"
    return ("yes" if gap.better else "no" if gap.value <= 0 else "in part"), evidence


def _retrieval(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    metric, found = comparison.verdict.metric, {cell.name.split(" ")[0]: cell for cell in comparison.cells}
    if "rag" not in found:
        return NOT_MEASURED, "There is no method with retrieval alone (rag)."
    more = _ask(facts, "rag", " Errors of the retriever and of the reader were not measured apart")
    to_best = found["rag"].to_best
    if to_best is None:
        return "no", f"rag is the best method: {metric} {interval(found['rag'].scores[metric])}.{more}"
    gap = to_best.difference[metric]
    evidence = f"rag against {to_best.name}, the best: {describe(gap, metric)}{more}"
    return ("yes" if gap.worse else "in part"), evidence


def _format(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    free = facts.suites.get("format", {})
    prompted, tuned = _best(comparison, tuned=False), _best(comparison, tuned=True)
    if prompted is not None and (valid := free.get(prompted.name, {}).get("valid")):
        evidence = f"Valid free-form answers: {prompted.name} {interval(valid, '{:.1%}')}"
        if tuned is not None and (other := free.get(tuned.name, {}).get("valid")):
            evidence += f", {tuned.name} {interval(other, '{:.1%}')}"
        return ("yes" if valid.high < KEPT else "no" if valid.low >= KEPT else "in part"), f"{evidence}."
    if prompted is None:
        return NOT_MEASURED, "There is no prompted method."
    if facts.decoding in ("choose", "json"):
        why = f"decoding={facts.decoding} always gives valid answers."
        return NOT_MEASURED, why + _ask(facts, "format", " Free-form answers were not measured")
    count, worst = max((_costs(comparison, cell.name).failures, cell.name) for cell in comparison.cells)
    unknown = _ask(facts, "format", "Form was not measured")
    return "in part", f"Most unusable answers: {count}, by {worst}. {unknown}"


def _held_out(comparison: Comparison, facts: DataFacts) -> tuple[str, str]:
    n = comparison.verdict.questions
    return "yes", (
        f"{n:,} test rows that no method was fitted on; {facts.rows.overlap} overlaps with training rows were "
        f"resolved; choices were made on {facts.validation:,} validation rows. How often the test rows were used "
        "before was not measured."
    )


def _monitoring(facts: DataFacts) -> tuple[str, str]:
    names = ("calibration", "out_of_scope")
    last = {name: [*facts.suites[name].items()][-1] for name in names if facts.suites.get(name)}
    if last:
        return "in part", " ".join(f"{name}, {method}: {_some(scores)}" for name, (method, scores) in last.items())
    for name in names:
        if name in facts.advice:
            return NOT_MEASURED, _ask(facts, name, "Confidence was not measured")
    return NOT_MEASURED, "No evaluation suite measures confidence for this task and decoding."


def _bias(facts: DataFacts) -> tuple[str, str]:
    for method, scores in reversed([*facts.suites.get("slices", {}).items()]):
        if slices := {name: figure for name, figure in scores.items() if name != "all"}:
            return "yes", f"slices, {method}: {_some(slices)}"
    return NOT_MEASURED, _ask(facts, "slices", "Slices of the test rows were not measured").strip()


def _ask(facts: DataFacts, suite: str, what: str) -> str:
    """That something was not measured, and how to measure it, where this comparison can."""
    return f"{what}: add {facts.advice[suite]}." if suite in facts.advice else f"{what}."


def _some(scores: Mapping[str, Measured]) -> str:
    return ", ".join(f"{name} {interval(figure)}" for name, figure in [*scores.items()][:3]) + "."


def _costs(comparison: Comparison, name: str) -> Costs:
    return comparison.runs_of(name)[0].costs


def _best(comparison: Comparison, tuned: bool) -> Cell | None:
    """The best method that prompts a language model, tuned or not."""
    metric = comparison.verdict.metric
    fitting = [
        cell
        for cell in comparison.cells
        if (costs := _costs(comparison, cell.name)).prompt_tokens_per_question and bool(costs.training_tokens) == tuned
    ]
    return max(fitting, key=lambda cell: cell.scores[metric].value, default=None)
