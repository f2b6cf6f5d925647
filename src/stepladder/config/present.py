"""A configuration as a file that can be saved under conf/experiment/ and run again.

Knows YAML and the shape of an experiment file; composes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from stepladder.masking import mask

NEVER_OVERRIDDEN = ("experiment",)


def presentable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without the secrets that the nodes which are no part of an experiment may hold."""
    return {key: mask(node) if key in ("tracking", "sweep") else node for key, node in config.items()}


def as_experiment(config: Mapping[str, Any], choices: Mapping[str, Any]) -> str:
    """YAML text: the option of every group, then every value. References between nodes stay, so that an override of
    `retrieval.k` still reaches the method that refers to retrieval."""
    options = [
        {f"override /{group}": option}
        for group, option in choices.items()
        if group not in NEVER_OVERRIDDEN and option is not None
    ]
    values = {
        key: node for key, node in presentable(config).items() if key not in NEVER_OVERRIDDEN and node is not None
    }
    text = yaml.safe_dump({"defaults": options, **values}, sort_keys=False, allow_unicode=True, width=120)
    return f"# @package _global_\n{text}"
