"""What `auto` means: the decoding and the suites that the task's kind asks for, settled before anything is hashed.

Knows kinds of tasks and the names of modes; builds the dataset's node to ask its kind, but reads no data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.config.annotations import hints_of
from stepladder.config.build import Component, build
from stepladder.config.compose import PARTS, Composed, compose, references
from stepladder.config.schema import UNTARGETED, Tracking
from stepladder.config.targets import resolve
from stepladder.errors import ConfigError, Fault

BY_KIND: Mapping[str, Mapping[str, Any]] = {
    "choice": {"mode": "choose", "max_new_tokens": 128},
    "text": {"mode": "greedy", "max_new_tokens": 128},
    "json": {"mode": "json", "max_new_tokens": 384},
}
"""What `auto` stands for in the decoding's node."""

NOT_BUILT = ("experiment", "seed")
ALWAYS_BUILT = ("decoding", "compute", "preflight", "tracking", "comparison")
"""Nodes of our own classes, which import nothing heavy unless somebody puts it into them."""


def settle(composed: Composed, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration with no `auto` left that an id would depend on.

    Raises ConfigError with all faults of the dataset's node, or for a suite that serves another kind of task.
    """
    config = dict(composed.config)
    wanted = {"dataset": wanted_nodes()["dataset"]}
    try:
        kind = build({"dataset": config["dataset"]}, wanted=wanted, trust=trust)["dataset"].object.kind
    except ConfigError as error:
        raise ConfigError([*error.faults, *_beside(config, trust)]) from error
    config["decoding"] = {
        key: BY_KIND[kind][key] if value == "auto" and key in BY_KIND[kind] else value
        for key, value in config["decoding"].items()
    }
    asked = [name for name in composed.choices["evaluation"] if name in config["evaluation"]]
    misfits = [name for name in asked if not _serves(config["evaluation"][name], kind, trust)]
    if misfits:
        raise ConfigError(
            [Fault(f"evaluation={n}", f"this suite does not serve {kind} tasks", "leave it out") for n in misfits]
        )
    config["evaluation"] = {n: node for n, node in config["evaluation"].items() if _serves(node, kind, trust)}
    return config


def _beside(config: Mapping[str, Any], trust: Sequence[str]) -> list[Fault]:
    """The faults of all nodes but the dataset's and those that wait for its kind."""
    waiting = ("dataset", "decoding", "evaluation")
    try:
        validate({key: node for key, node in config.items() if key not in waiting}, trust, heavy=False)
    except ConfigError as error:
        return list(error.faults)
    return []


def settled(
    texts: Sequence[str], config_dir: Path | None = None, trust: Sequence[str] = ()
) -> tuple[Composed, dict[str, Any]]:
    """Compose and settle. Raises ConfigError with the overrides' faults and those of what the rest composes to."""
    try:
        composed = compose(texts, config_dir)
    except ConfigError as error:
        faults = list(error.faults)
        if error.sound is not None:
            try:
                validate(settle(compose(error.sound, config_dir), trust), trust, heavy=False)
            except ConfigError as more:
                faults += more.faults
        raise ConfigError(faults) from error
    return composed, settle(composed, trust)


def _serves(suite: Mapping[str, Any], kind: str, trust: Sequence[str]) -> bool:
    """Whether the suite is for this kind of task: as its node says, else as its class does."""
    of_class = getattr(resolve(suite.get("_target_"), "", trust), "kind", None)
    return suite.get("kind", of_class if isinstance(of_class, str) else None) in (None, kind)


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
    spared = [key for key in nodes if not heavy or key == "sweep" or (key in PARTS and key not in used)]
    light = [key for key in spared if key not in ALWAYS_BUILT]
    faults = _of_seed(config.get("seed"))
    try:
        built = build(nodes, wanted=wanted_nodes(), trust=trust, light=light)
    except ConfigError as error:
        raise ConfigError([*error.faults, *faults]) from error
    if faults:
        raise ConfigError(faults)
    return built


def wanted_nodes() -> dict[str, Any]:
    """What the nodes of a configuration must be, as annotations."""
    names = {
        **UNTARGETED,
        "dataset": "stepladder.dataset.Dataset",
        "method": "stepladder.methods.Method",
        "model": "stepladder.models.Checkpoint",
        "prompt": "stepladder.context.Prompt",
        "demonstrations": "stepladder.context.Context",
        "retrieval": "stepladder.context.Context",
        "training": "stepladder.tuning.Training",
        "evaluation": "stepladder.evaluation.Suite",
        "tuning": "stepladder.tuning.Tuning",
        "embedder": "stepladder.types.Embedder",
    }
    found: dict[str, Any] = {key: resolve(name, key) for key, name in names.items()}
    found["evaluation"] = dict.__class_getitem__((str, found["evaluation"]))
    fine_tune = resolve("stepladder.tuning.FineTune", "tuning")
    return {**found, "adapter": hints_of(fine_tune)["adapter"], "tracking": Tracking}


def _of_seed(seed: object) -> list[Fault]:
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return []
    several = isinstance(seed, list)
    hint = f"; for several: stepladder compare seed={','.join(map(str, seed))}" if isinstance(seed, list) else ""
    what = "one experiment has one seed" if several else f"{seed!r} is no seed"
    return [Fault("seed", what, f"give a whole number from 0 to 4294967295{hint}")]
