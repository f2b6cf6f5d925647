"""What `check` reports: rows, labels, minimum detectable difference, preflight checks, planned work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from stepladder.dataset.labels import LookAlikes, visible
from stepladder.evaluation.statistics.closed_form import detectable_difference
from stepladder.io.serialise import from_plain, to_plain
from stepladder.resources import Silent, StageReport
from stepladder.runs.expected_time import ExpectedTime
from stepladder.runs.fitting import check as check_devices
from stepladder.runs.preflight import check_data
from stepladder.runs.run import RunContext
from stepladder.runs.stages import Prepared
from stepladder.store.store import Form, Kind, Store
from stepladder.types import CheckResult, Choice, Example

ALL_LABELS, FEW_LABELS = 20, 5  # so many labels are listed in full; of more, so many from both ends
LABEL_WIDTH = 60  # so many characters of a label are listed
DISAGREEMENTS = (0.05, 0.1, 0.2, 0.3)  # shares of the questions on which one of two rungs is right and the other not


def expectations(
    prepared: Prepared,
    store: Store,
    comparisons: int = 1,
    checks: Sequence[CheckResult] = (),
    time: ExpectedTime | None = None,
) -> dict[str, Any]:
    """Rows, labels, what has to be computed and how often, what difference so many rows can show in a family of
    `comparisons`, and the results of preflight checks, as plain data; `lines` are the same for a person."""
    rows = prepared.data.accounts.as_dict()
    task = prepared.data.task
    labels = len(task.answer.labels) if isinstance(task.answer, Choice) else None
    stored = in_store(prepared, store)
    counts, alike = prepared.data.label_counts(), prepared.data.look_alikes()
    steps = _steps(prepared)
    asked = sum(len(request.questions) for request in prepared.requests.values())
    power = detectable(prepared.examples, comparisons)
    lines = [
        f"rows: {rows['read']} read, {rows['kept']} kept, {rows['rejected']} rejected",
        *(f"file: {facts}" for facts in prepared.data.accounts.files),
        *(f"note: {note}" for note in prepared.data.accounts.notes),
        f"task: {task.kind}" + (f", {labels} labels" if labels else ""),
        *label_lines(counts, alike),
        f"train {len(prepared.data.train)}, validation {len(prepared.data.validation)}, {prepared.experiment.rows} "
        f"{len(prepared.examples)}, passages {len(prepared.data.corpus)}",
        f"planned: {steps or 'no'} optimiser steps, {asked} questions",
        *_power_lines(power, comparisons),
        "in the store: " + (", ".join(name for name, there in stored.items() if there) or "nothing of this yet"),
        *(f"preflight: {each.message}" for each in checks),
        *(time.lines if time else []),
    ]
    return {
        "rows": rows,
        "kind": task.kind,
        "labels": labels,
        "label_counts": counts,
        "look_alikes": [{"labels": dict(group.counts), "difference": group.difference} for group in alike],
        "steps": steps,
        "questions": asked,
        "detectable": power,
        "stored": stored,
        "gate": to_plain(list(checks)),
        "expected_time": time.as_dict() if time else None,
        "lines": lines,
    }


def in_store(prepared: Prepared, store: Store) -> dict[str, bool]:
    """Which stages of the experiment are finished."""
    return {
        "fit": store.find("fits", prepared.fit_form.key) is not None,
        "predict": all(store.find("predictions", prepared.predict_form(p).key) for p in prepared.requests.values()),
        "score": store.find("scores", prepared.score_form.key) is not None,
    }


def stored_keys(prepared: Prepared, store: Store) -> dict[str, dict[str, Any]]:
    """By stage (fit, predict of the main request, score): its `key`, and whether it is `stored`."""
    stages: dict[str, tuple[Kind, Form]] = {
        "fit": ("fits", prepared.fit_form),
        "predict": ("predictions", prepared.predict_form(prepared.main)),
        "score": ("scores", prepared.score_form),
    }
    return {
        name: {"key": form.key, "stored": store.find(kind, form.key) is not None}
        for name, (kind, form) in stages.items()
    }


def label_lines(counts: Mapping[str, Mapping[str, int]], alike: Sequence[LookAlikes]) -> list[str]:
    """The labels with their rows in train, validation and test; `*` marks labels that look like another one.

    Up to 20 labels are all listed. Of more, the ones with the fewest and the most rows are, and all that are marked.
    """
    marked = {label for group in alike for label in group.counts}
    order = sorted(counts, key=lambda label: (-sum(counts[label].values()), label))
    listed = {
        label: f"{_shown(label)}{'*' if label in marked else ''} {'/'.join(str(n) for n in counts[label].values())}"
        for label in order
    }
    if not order:
        return []
    legend = "rows in train/validation/test" + ("; * looks like another label" if marked else "")
    if len(order) <= ALL_LABELS:
        return [f"labels ({legend}): {', '.join(listed.values())}"]
    ends = [("most", order[:FEW_LABELS]), ("fewest", order[-FEW_LABELS:])]
    ends += [("look-alikes", [label for label in order if label in marked])] if marked else []
    return [
        f"labels ({legend}): {len(order)}, "
        + "; ".join(f"{name}: {', '.join(listed[label] for label in some)}" for name, some in ends)
    ]


def rehearsed(prepared: Prepared, context: RunContext) -> tuple[list[CheckResult], Mapping[str, float]]:
    """The preflight checks of a run, and the figures of a rehearsal; nothing is trained and nothing is stored.

    A stored fit has passed; its stored results are returned.
    """
    found = check_data(prepared, context.limits)
    method = prepared.method.object
    stored = context.store.find("fits", prepared.fit_form.key)
    if stored is not None:
        return [*found, *from_plain(tuple[CheckResult, ...], stored.facts.get("gate", []), str(stored.folder))], {}
    resources = context.resources(Silent(), keeps=False)
    check_devices(prepared, resources.devices)
    if getattr(method, "rehearses", False):
        report = StageReport(checks=found)
        resources = replace(resources, devices=resources.devices.alone, rehearsal=True, report=report)
        method.fit(prepared.data.training, resources, prepared.experiment.seed)
    return found, resources.report.figures


def _steps(prepared: Prepared) -> int:
    """Optimiser steps at the most: early stopping may end a fit before."""
    training: Any = getattr(getattr(prepared.method.object, "tuning", None), "training", None)
    return 0 if training is None else int(training.steps(len(prepared.data.train)))


def _shown(label: str) -> str:
    whole = visible(label)
    return whole if len(whole) <= LABEL_WIDTH else f"{whole[: LABEL_WIDTH - 4]}...{whole[-1]}"


def detectable(examples: Sequence[Example], comparisons: int = 1) -> dict[str, Any]:
    """The minimum detectable difference of two accuracies (80% power), by the share of the questions on which the two
    methods disagree; None where so few disagreements can not be significant.

    `independent` counts every question, `grouped` (None without groups) counts as if the questions of a group fell all
    together, which leaves (sum of sizes)^2 / (sum of squared sizes) of them (Kish 1965): the truth lies between. A
    family of comparisons is held to the level of Holm's first step.
    """
    n = len(examples)
    sizes = Counter(e.question.group for e in examples if e.question.group is not None)
    alone = n - sizes.total()
    fewest = n**2 / (sum(size**2 for size in sizes.values()) + alone) if n else 0.0

    def gaps(questions: float) -> dict[str, float | None]:
        level = 0.05 / max(1, comparisons)
        found = {share: detectable_difference(share, questions, level) for share in DISAGREEMENTS}
        return {f"{share:g}": round(gap, 4) if gap <= share else None for share, gap in found.items()}

    grouped = gaps(fewest) if n and fewest < n else None
    return {"questions": n, "comparisons": comparisons, "independent": gaps(n) if n else None, "grouped": grouped}


def _power_lines(power: dict[str, Any], comparisons: int) -> list[str]:
    if power["independent"] is None:
        return []
    family = f"Holm over {comparisons} comparisons" if comparisons > 1 else "one comparison"
    lines = [
        f"minimum detectable accuracy difference with {power['questions']} questions (80% power, {family}):",
        f"  {_by_disagreement(power['independent'])}",
    ]
    if power["grouped"] is not None:
        lines.append(f"  if all questions of a group agree: {_by_disagreement(power['grouped'])}")
    return lines


def _by_disagreement(gaps: Mapping[str, float]) -> str:
    """The differences, each with the share of the questions on which two methods disagree."""
    found = [f"{gap:.3f} at {float(share):.0%}" for share, gap in gaps.items() if gap is not None]
    if not found:
        return f"none, even if two methods disagree on {max(map(float, gaps)):.0%} of the questions"
    first, *rest = found
    return ", ".join([first.replace(" at ", " if two methods disagree on ") + " of the questions", *rest])
