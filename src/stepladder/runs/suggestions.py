"""Says what `auto` and null stand for with the options chosen: comments of a saved experiment, never values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepladder.config.compose import Composed, references
from stepladder.tuning.adapters import suggested_rate


def dependent_values(composed: Composed, config: Mapping[str, Any]) -> list[str]:
    """What `auto` and null stand for with the options chosen: comments of an experiment file, never values of it."""
    found = [
        f"decoding.{key} is auto, which means {config['decoding'][key]} for this task"
        for key, value in composed.config["decoding"].items()
        if value == "auto" and config["decoding"].get(key) != "auto"
    ]
    training, used = config.get("training") or {}, references(config["method"], config)
    if {"adapter", "training"} <= used and "learning_rate" in training and training["learning_rate"] is None:
        rate = suggested_rate(str(config["adapter"].get("_target_")))
        found.append(f"training.learning_rate is null, which means {rate:g} with this adapter")
    return ["Values that depend on these choices, and are not part of this file:", *found] if found else []
