"""A comparison: vary -> runs -> one table, paired differences, a verdict. Refuses unequal questions.

Knows runs and evaluation; what varies is planned in `variants`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepladder.config.identity import digest
from stepladder.errors import ConfigError, DataError, Fault, did_you_mean
from stepladder.evaluation.answered import Answered
from stepladder.evaluation.estimates import Side, difference
from stepladder.evaluation.ladder import Rules, compared
from stepladder.evaluation.metrics import NotDefinedError
from stepladder.evaluation.report import markdown
from stepladder.evaluation.suite import MetricSuite
from stepladder.evaluation.verdict import verdict
from stepladder.files import read_json, write_text
from stepladder.runs.run import Circumstances, Run, run_prepared, tell_of_rows
from stepladder.runs.stages import Prepared, prepare, read_predictions
from stepladder.studies.variants import Plan, Variant

VERSION = 2
"""Raised when the same scores are judged in another way."""


def compare(planned: Plan, around: Circumstances, tuning: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run every variant and judge them on the same questions. Returns the object that `compare --json` prints, and
    leaves it in the study's folder as comparison.json, with report.md for people. `tuning` tells how cells were tuned.

    Raises UserError before the first run where a variant can not run, or where questions differ.
    """
    prepared = [prepare(variant.experiment, around.trust, around.read) for variant in planned.variants]
    _same_questions(planned.variants, prepared)
    tell_of_rows(prepared[0], around)
    baseline = _baseline(planned)
    study = f"{planned.comparison.name}-{digest([p.score_form.key for p in prepared])[:12]}"
    around.study = study
    runs = []
    for number, (variant, ready) in enumerate(zip(planned.variants, prepared, strict=True), start=1):
        around.progress.note(f"[{number}/{len(prepared)}] {variant.name}, seed {variant.seed}")
        runs.append(run_prepared(ready, around))
    variants, runs = _distinct(planned.variants, runs)
    folder = around.store.study(study)
    folder.mkdir(parents=True, exist_ok=True)
    judged = _judged(planned, variants, runs, baseline, folder / "judged.json", seed=int(digest(study)[:8], 16))
    whole = {"study": study, "report": str(folder / "report.md"), "baseline": baseline, **judged}
    whole |= {"tuning": tuning} if tuning else {}
    write_text(folder / "report.md", markdown(whole))
    write_text(folder / "comparison.json", json.dumps(whole, indent=1, ensure_ascii=False))
    return whole


def _baseline(planned: Plan) -> str:
    names = list(dict.fromkeys(variant.name for variant in planned.variants))
    wanted = planned.comparison.baseline
    if wanted is None:
        return names[0]
    matching = [name for name in names if name == wanted] or [name for name in names if name.split(" ")[0] == wanted]
    if matching:
        return matching[0]
    raise ConfigError(
        Fault("comparison.baseline", f"'{wanted}' is none of the cells compared", did_you_mean(wanted, names))
    )


def _same_questions(variants: Sequence[Variant], prepared: Sequence[Prepared]) -> None:
    first = {e.question.id: e.answers for e in prepared[0].examples}
    for variant, other in zip(variants, prepared, strict=True):
        found = {e.question.id: e.answers for e in other.examples}
        if found != first:
            only = [sorted(first.keys() - found.keys())[:3], sorted(found.keys() - first.keys())[:3]]
            raise DataError(
                f"Not the same questions: {len(first)} against {len(found)}; only in the first {only[0]}, "
                f"only in the second {only[1]}",
                f"{variants[0].name} (seed {variants[0].seed}) and {variant.name} (seed {variant.seed})",
                "compare on one dataset with one split; what varies must not change the held-out rows",
            )


def _distinct(variants: Sequence[Variant], runs: Sequence[Run]) -> tuple[list[Variant], list[Run]]:
    """Equal keys are one run: a method that draws nothing has one row for all seeds."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for variant, run in zip(variants, runs, strict=True):
        if (variant.name, run.score.key) not in seen:
            seen.add((variant.name, run.score.key))
            kept.append((variant, run))
    return [variant for variant, _ in kept], [run for _, run in kept]


def _judged(
    planned: Plan, variants: Sequence[Variant], runs: Sequence[Run], baseline: str, kept: Path, seed: int
) -> dict[str, Any]:
    """Rows, cells and verdict. What was judged before of the same scores is read back from the file `kept`."""
    names = [(variant.name, variant.seed, run.score.key) for variant, run in zip(variants, runs, strict=True)]
    of = digest({"version": VERSION, "runs": names, "baseline": baseline, "comparison": asdict(planned.comparison)})
    found = read_json(kept)
    if found is None or found.get("of") != of:
        found = {"of": of, **_judge(planned, variants, runs, baseline, seed)}
        write_text(kept, json.dumps(found, ensure_ascii=False))
    rows = [
        {"name": v.name, "overrides": list(v.overrides), "seed": v.seed, **run.as_dict(), **told}
        for v, run, told in zip(variants, runs, found["differences"], strict=True)
    ]
    return {"rows": rows, "cells": found["cells"], "verdict": found["verdict"]}


def _judge(planned: Plan, variants: Sequence[Variant], runs: Sequence[Run], baseline: str, seed: int) -> dict[str, Any]:
    suite = _main_suite(runs[0])
    answered = [_answered(run) for run in runs]
    rungs: dict[str, list[Answered]] = {}
    seeds: dict[str, list[int]] = {}
    for variant, answers in zip(variants, answered, strict=True):
        rungs.setdefault(variant.name, []).append(answers)
        seeds.setdefault(variant.name, []).append(variant.seed)
    metrics = {name: m for name, m in suite.metrics.items() if all(name in _own(run) for run in runs)}
    main = suite.main or next(iter(metrics))
    rules = Rules(planned.comparison.mid_p, planned.comparison.correction)
    cells = compared(metrics, rungs, baseline, main, seed, rules)
    for cell in cells:
        cell["seeds"] = seeds[cell["name"]]
    differences: list[dict[str, Any]] = []
    for variant, answers in zip(variants, answered, strict=True):
        differences.append({})
        if variant.name != baseline:
            same_seed = seeds[baseline].index(variant.seed) if variant.seed in seeds[baseline] else 0
            against = rungs[baseline][same_seed]
            differences[-1]["difference"] = _difference(metrics, answers, against, seed, rules)
    chosen = verdict(cells, list(rungs), main, planned.comparison.margin, planned.comparison.target)
    return {"cells": cells, "verdict": chosen, "differences": differences}


def _difference(metrics: Any, ours: Answered, theirs: Answered, seed: int, rules: Rules) -> dict[str, Any]:
    found = {}
    for name, metric in metrics.items():
        try:
            found[name] = difference(Side(metric, ours), Side(metric, theirs), seed, rules.mid_p).as_dict()
        except NotDefinedError:
            continue
    return found


def _main_suite(run: Run) -> MetricSuite:
    suite = next(iter(run.prepared.suites.values())).object
    assert isinstance(suite, MetricSuite)
    return suite


def _own(run: Run) -> Any:
    return run.scores[next(iter(run.prepared.suites))]


def _answered(run: Run) -> Answered:
    main = run.prepared.main
    return Answered(main, tuple(read_predictions(run.predictions["main"].folder)), run.prepared.examples)
