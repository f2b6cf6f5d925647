"""The keys of an experiment's three stages, and whether a store has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepladder.config.experiment import Experiment
from stepladder.runs.stages import prepare
from stepladder.store.store import Kind, Store
from stepladder.types import Plain


def stored_keys(config: Plain, choices: Plain, outputs: Path, trust: Sequence[str]) -> dict[str, dict[str, Any]]:
    """By stage (fit, predict, score): its `key`, and whether it is `stored`. Reads the data, runs nothing."""
    prepared = prepare(Experiment.from_config(config, choices), trust)
    store = Store(outputs)
    stages: dict[str, tuple[Kind, str]] = {
        "fit": ("fits", prepared.fit_form.key),
        "predict": ("predictions", prepared.predict_form(prepared.main).key),
        "score": ("scores", prepared.score_form.key),
    }
    return {name: {"key": key, "stored": store.find(kind, key) is not None} for name, (kind, key) in stages.items()}
