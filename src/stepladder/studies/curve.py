"""A comparison over numbers of training rows: its distinct variants, and the learning curve of their scores."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from stepladder.runs.run import Run
from stepladder.runs.stages import Prepared
from stepladder.studies.learning_curve import LearningCurve, Point
from stepladder.studies.variants import Variant

Ready = tuple[Variant, Prepared]


def once(ready: Sequence[Ready], key: str) -> list[Ready]:
    """Each run once. A method whose run is the same for every number of rows is named without a number; the others have
    the number of rows that there really are."""
    runs: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
    for variant, prepared in ready:
        runs[_method(variant), variant.seed].add(prepared.score_form.key)
    several = len({len(prepared.data.train) for _, prepared in ready}) > 1
    kept: dict[tuple[str, int], Ready] = {}
    for variant, prepared in ready:
        level = several and len(runs[_method(variant), variant.seed]) == 1
        name = _method(variant) if level else f"{_method(variant)} {key}={len(prepared.data.train)}"
        kept.setdefault((name, variant.seed), (replace(variant, name=name), prepared))
    order = list(dict.fromkeys(name for name, _ in kept))
    return sorted(kept.values(), key=lambda pair: order.index(pair[0].name))


def learning_curve(variants: Sequence[Variant], runs: Sequence[Run], metric: str) -> LearningCurve:
    """The curve of the main suite's `metric`. A method with one seed has no draw, and one without a number no rows."""
    seeds: defaultdict[str, set[int]] = defaultdict(set)
    for variant in variants:
        seeds[variant.name].add(variant.seed)
    points = []
    for variant, run in zip(variants, runs, strict=True):
        prepared = run.prepared
        inputs = prepared.inputs
        main = next(iter(prepared.suites))
        points.append(
            Point(
                _method(variant),
                run.scores[main][metric].value,
                len(prepared.data.train) if " " in variant.name else None,
                variant.seed if len(seeds[variant.name]) > 1 else None,
                prompt=inputs.prompted and not inputs.tunes,
                tuned=inputs.tunes,
            )
        )
    return LearningCurve(points)


def _method(variant: Variant) -> str:
    return variant.name.split(" ")[0]
