"""The experiments of a comparison: every combination of its cells and of the values that vary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from stepladder.config.cells import as_text, overrides_of_cells
from stepladder.config.compose import PARTS, Composed, references
from stepladder.config.experiment import Experiment
from stepladder.config.overrides import lists, parse, prose
from stepladder.config.resolution import compose_resolved, validate
from stepladder.config.schema import Comparison
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain

MOST_RUNS = 2000


@dataclass(frozen=True)
class Variant:
    """One experiment of a comparison: its cell's `name`, the overrides that make it, its seed."""

    name: str
    overrides: tuple[str, ...]
    seed: int
    experiment: Experiment


@dataclass(frozen=True)
class Plan:
    """All variants of a comparison, simplest cell first, with how they are judged."""

    comparison: Comparison
    variants: tuple[Variant, ...]
    config: Plain
    notices: tuple[str, ...]


def plan(texts: Sequence[str], config_dir: Path | None = None, trust: Sequence[str] = ()) -> Plan:
    """Compose and bind every combination. Raises ConfigError with the faults of the first combination that has any."""
    parsed = parse(texts)
    if sentences := prose(parsed):
        raise ConfigError(sentences)
    listed = lists(parsed)
    cells = overrides_of_cells(parsed, config_dir, trust)
    first = [f"{key}={values[0]}" for key, values in listed.items() if values]
    _, base = compose_resolved([*next(iter(cells.values())), *first], config_dir, trust)
    comparison: Comparison = validate(base, trust, heavy=False)["comparison"].object
    given = {o.key_or_group for o in parsed if not o.is_sweep_override()}
    vary = {key: [as_text(v) for v in values] for key, values in comparison.vary.items() if key not in given} | listed
    if empty := [key for key, values in vary.items() if not values]:
        what = "there are no values to compare"
        raise ConfigError([Fault(f"comparison.vary.{key}", what, "name some") for key in empty])
    if (count := len(cells) * prod(map(len, vary.values()))) > MOST_RUNS:
        what = f"{count:,} runs are too many for a comparison"
        raise ConfigError(Fault("comparison.vary", what, f"name values for at most {MOST_RUNS:,}"))
    variants, notices, dropped = [], [], dict[str, None]()
    for cell, *values in product(cells, *vary.values()):
        own = tuple(f"{key}={value}" for key, value in zip(vary, values, strict=True))
        composed, config = compose_resolved([*cells[cell], *own], config_dir, trust)
        validate(config, trust)
        experiment = Experiment.from_config(config, composed.choices)
        all_own = (*(text for text in cells[cell] if text not in texts), *own)
        variants.append(Variant(_name(composed, vary, cell), all_own, config["seed"], experiment))
        notices.append(set(composed.notices))
        dropped |= dict.fromkeys(composed.dropped)
    if "comparison.baseline" not in given and comparison.baseline not in {v.name.split(" ")[0] for v in variants}:
        comparison = replace(comparison, baseline=None)  # the file's own baseline is left out of this comparison
    if comparison.curve not in vary:
        comparison = replace(comparison, curve=None)  # along one number there is no curve
    # an override that one of the methods uses needs no notice
    shared = sorted(set.intersection(*notices))
    return Plan(comparison, tuple(_collapsed(variants)), base, (*shared, *dropped))


def cells(vary: Mapping[str, Sequence[Any]]) -> int:
    """The number of cells of a comparison of these values."""
    return prod(len(values) for key, values in vary.items() if key != "seed")


def _name(composed: Composed, vary: Mapping[str, Sequence[str]], cell: str = "") -> str:
    """The cell's name or the method's option, then the other varying overrides that reach it."""
    used = references(composed.config["method"], composed.config)
    own = dict(text.split("=", 1) for text in composed.overrides if text.split("=", 1)[0] in vary)
    others = [
        f"{key.lstrip('+')}={value}"
        for key, value in own.items()
        if key not in ("method", "seed") and ((top := key.lstrip("+").split(".")[0]) not in PARTS or top in used)
    ]
    return " ".join([cell or str(composed.choices["method"]), *others])


def _collapsed(variants: Sequence[Variant]) -> list[Variant]:
    """Each cell and seed once, cells kept together."""
    cells: defaultdict[str, dict[int, Variant]] = defaultdict(dict)
    for variant in variants:
        cells[variant.name].setdefault(variant.seed, variant)
    return [variant for cell in cells.values() for variant in cell.values()]
