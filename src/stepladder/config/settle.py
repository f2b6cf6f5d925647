"""What `auto` means: the decoding and the suites that the task's kind asks for, settled before anything is hashed.

Knows kinds of tasks and the names of modes; builds the dataset's node to ask its kind, but reads no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepladder.config.build import Component, build
from stepladder.config.compose import PARTS, Composed, references
from stepladder.config.schema import UNTARGETED
from stepladder.config.targets import resolve
from stepladder.errors import ConfigError, Fault

BY_KIND: Mapping[str, Mapping[str, Any]] = {
    "choice": {"mode": "choose", "max_new_tokens": 128},
    "text": {"mode": "greedy", "max_new_tokens": 128},
    "json": {"mode": "json", "max_new_tokens": 384},
}
"""What `auto` stands for in the decoding's node."""

NOT_BUILT = ("experiment", "seed")


def settle(composed: Composed, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration with no `auto` left that an id would depend on.

    Raises ConfigError with all faults of the dataset's node, or for a suite that serves another kind of task.
    """
    config = dict(composed.config)
    kind = build({"dataset": config["dataset"]}, trust=trust)["dataset"].object.kind
    config["decoding"] = {
        key: BY_KIND[kind][key] if value == "auto" and key in BY_KIND[kind] else value
        for key, value in config["decoding"].items()
    }
    asked = [name for name in composed.choices["evaluation"] if name in config["evaluation"]]
    misfits = [name for name in asked if not _serves(config["evaluation"][name], kind)]
    if misfits:
        raise ConfigError(
            [Fault(f"evaluation={n}", f"this suite does not serve {kind} tasks", "leave it out") for n in misfits]
        )
    config["evaluation"] = {n: node for n, node in config["evaluation"].items() if _serves(node, kind)}
    return config


def _serves(suite: Mapping[str, Any], kind: str) -> bool:
    return suite.get("kind") in (None, kind)


def validate(config: Mapping[str, Any], trust: Sequence[str] = (), heavy: bool = True) -> dict[str, Component]:
    """Bind every node of a configuration to its constructor; all faults at once.

    With `heavy=False` nothing outside this package is imported for it, and nodes that would need that go unbuilt.
    """
    nodes = {}
    for key, node in config.items():
        if key in NOT_BUILT or node is None:
            continue
        nodes[key] = {"_target_": UNTARGETED[key], **node} if key in UNTARGETED else node
    used = references(config["method"], config)
    light = [key for key in nodes if not heavy or (key in PARTS and key not in used)]
    faults = _of_seed(config.get("seed"))
    try:
        built = build(nodes, wanted=_wanted(), trust=trust, light=light)
    except ConfigError as error:
        raise ConfigError([*error.faults, *faults]) from error
    if faults:
        raise ConfigError(faults)
    return built


def _wanted() -> dict[str, type]:
    names = {
        "dataset": "stepladder.dataset.dataset.Dataset",
        "method": "stepladder.methods.method.Method",
        "model": "stepladder.model.language_model.Checkpoint",
    }
    found = {key: resolve(name, key) for key, name in names.items()}
    return {key: kind for key, kind in found.items() if isinstance(kind, type)}


def _of_seed(seed: object) -> list[Fault]:
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return []
    return [Fault("seed", f"{seed!r} is no seed", "give a whole number from 0 to 4294967295")]
