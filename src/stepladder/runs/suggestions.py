"""The values that `auto` and null take with the options chosen, which `show` prints as comments.

They are never written as values: another adapter, or another kind of task, takes others.
"""

from __future__ import annotations

from collections.abc import Sequence

from stepladder.config.compose import Composed, references
from stepladder.tuning.adapters import suggested_learning_rate
from stepladder.types import Plain


def dependent_values(composed: Composed, config: Plain) -> dict[str, Sequence[str]]:
    """Comments by the node that they belong to, such as `learning_rate: 0.001, suggested for lora`.

    Args:
        composed: The configuration as it was composed, with `auto` where the command line has it.
        config: The same configuration with every `auto` resolved.
    """
    found: dict[str, Sequence[str]] = {}
    training, used = config.get("training") or {}, references(config["method"], config)
    if {"adapter", "training"} <= used and "learning_rate" in training and training["learning_rate"] is None:
        rate = suggested_learning_rate(str(config["adapter"].get("_target_")))
        found["training"] = [f"learning_rate: {rate:g}, suggested for {composed.choices['adapter']}"]
    resolved = config["decoding"]
    found["decoding"] = [
        f"{key}: {resolved[key]}, auto for this task"
        for key, value in composed.config["decoding"].items()
        if value == "auto" and resolved.get(key) != "auto"
    ]
    return found
