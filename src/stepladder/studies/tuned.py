"""Tunes every cell of a comparison with the same budget on the validation rows; its winner takes its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stepladder.config.experiment import Experiment
from stepladder.config.overrides import parse
from stepladder.config.resolution import compose_resolved
from stepladder.errors import ConfigError, Fault, did_you_mean
from stepladder.runs.run import RunContext
from stepladder.studies.results import CellTuning, TuningBudget
from stepladder.studies.sweep.plan import SweepPlan
from stepladder.studies.sweep.plan import plan as plan_sweep
from stepladder.studies.sweep.selection import luck_of
from stepladder.studies.sweep.sweep import Found, search
from stepladder.studies.variants import Plan, Variant


def tuned(
    planned: Plan, texts: Sequence[str], config_dir: Path | None, context: RunContext
) -> tuple[Plan, dict[str, CellTuning]]:
    """The comparison of the winners, and for each cell how it was tuned: study, budget, trials, overrides, value.

    Raises:
        ConfigError: A cell's space is wrong; raised before the first trial.
    """
    overrides = parse(texts)
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    given = {o.key_or_group for o in overrides}
    cells: dict[str, Variant] = {}
    for variant in planned.variants:
        cells.setdefault(variant.name, variant)
    methods = sorted({_method(variant) for variant in cells.values()})
    known = {*methods, *planned.comparison.vary.get("method", ())}
    faults = [
        Fault(f"comparison.tune.{method}", f"'{method}' is not one of its methods", did_you_mean(method, methods))
        for method in planned.comparison.tune
        if method not in known
    ]
    if faults:
        raise ConfigError(faults)
    searches: dict[str, tuple[SweepPlan, list[str]]] = {}
    for name, variant in cells.items():
        listed = planned.comparison.tune.get(_method(variant), {}).items()
        space = [f"{key}={text}" for key, text in listed if key.lstrip("+") not in given]
        if space:
            words = [*_named(fixed, name), *variant.overrides, *space]
            read = dict(context.read)
            searches[name] = plan_sweep(words, config_dir, context.trust, read, context.store.root), words
            context.read.update(read)
    found: dict[str, Found] = {}
    for name, (sweep, words) in searches.items():
        context.progress.note(f"tuning {name}: {sweep.limit} trials at the most")
        found[name] = search(sweep, words, replace(context, study=sweep.study))
    variants = []
    for variant in planned.variants:
        winner = found[variant.name].best[0].overrides if variant.name in found else ()
        tuned_overrides = (*variant.overrides, *winner)
        composed, config = compose_resolved([*fixed, *tuned_overrides], config_dir, context.trust)
        experiment = Experiment.from_config(config, composed.choices)
        variants.append(replace(variant, overrides=tuned_overrides, experiment=experiment))
    return replace(planned, variants=tuple(variants)), {name: _tuning(found.get(name)) for name in cells}


def _method(variant: Variant) -> str:
    return variant.name.split(" ")[0]


def _named(fixed: Sequence[str], cell: str) -> list[str]:
    """Each cell is a study of its own, under the name that was given."""
    own = "".join(sign if sign.isalnum() or sign in "_.-" else "_" for sign in cell)
    return [f"{text}-{own}" if text.startswith("sweep.name=") else text for text in fixed]


def _tuning(found: Found | None) -> CellTuning:
    if found is None:
        return CellTuning()
    return CellTuning(
        study=found.plan.study,
        trials=len(found.trials),
        seconds=round(sum(t.seconds for t in found.trials), 1),
        training_tokens=sum(t.tokens for t in found.trials),
        value=found.best[0].values[0] if found.best[0].values else None,
        overrides=found.best[0].overrides,
        budget=TuningBudget(found.plan.settings.trials, found.plan.settings.seconds),
        objective=found.plan.objectives[0].name,
        default=found.default[0] if found.default else None,
        luck=luck_of(found.trials, found.plan.examples, found.plan.study),
    )
