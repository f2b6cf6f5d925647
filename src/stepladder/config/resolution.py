"""Resolves `auto` by the kind of the dataset's task, and binds every node of a configuration to its class.

`auto` is resolved before anything is hashed. For this the dataset's node is built; its data is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stepladder.config.annotations import hints_of
from stepladder.config.build import Component, build
from stepladder.config.compose import PARTS, Composed, compose, references
from stepladder.config.schema import UNTARGETED, Tracking
from stepladder.config.targets import resolve
from stepladder.errors import ConfigError, Fault
from stepladder.types import Plain

BY_KIND: Mapping[str, Plain] = {
    "choice": {"mode": "choose", "max_new_tokens": 128},
    "text": {"mode": "greedy", "max_new_tokens": 128},
    "json": {"mode": "json", "max_new_tokens": 384},
}
"""The decoding that `auto` is resolved to, by the task's kind."""

STEPS_BY_KIND: Mapping[str, tuple[str, ...]] = {
    "choice": ("shortlist",),
    "text": ("self_consistency",),
    "json": ("decompose", "check_and_repair"),
}
"""The steps of `workflow=auto`, by the task's kind."""

NOT_BUILT = ("experiment", "seed")
ALWAYS_BUILT = ("decoding", "compute", "preflight", "tracking", "comparison")
"""Nodes that every command needs. Their own classes import no third-party package."""


def resolve_auto(composed: Composed, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The configuration without an `auto` that a key would depend on.

    Raises:
        ConfigError: With all faults of the configuration where the dataset's node has one; for a chosen suite that
            does not evaluate this kind of task.
    """
    config = dict(composed.config)
    wanted = {"dataset": wanted_nodes()["dataset"]}
    try:
        kind = build({"dataset": config["dataset"]}, wanted=wanted, trust=trust)["dataset"].object.kind
    except ConfigError as error:
        independent = {k: node for k, node in config.items() if k not in ("dataset", "decoding", "evaluation")}
        raise ConfigError([*error.faults, *_faults_in(lambda: validate(independent, trust, heavy=False))]) from error
    config["decoding"] = {
        key: BY_KIND[kind][key] if value == "auto" and key in BY_KIND[kind] else value
        for key, value in config["decoding"].items()
    }
    if composed.choices.get("workflow") == "auto":
        others = {name for steps in STEPS_BY_KIND.values() for name in steps} - {*STEPS_BY_KIND[kind]}
        config["workflow"] = {name: step for name, step in config["workflow"].items() if name not in others}
    chosen = [name for name in composed.choices["evaluation"] if name in config["evaluation"]]
    misfits = [name for name in chosen if not _evaluates(config["evaluation"][name], kind, trust)]
    if misfits:
        raise ConfigError(
            [Fault(f"evaluation={n}", f"this suite does not serve {kind} tasks", "leave it out") for n in misfits]
        )
    config["evaluation"] = {n: node for n, node in config["evaluation"].items() if _evaluates(node, kind, trust)}
    return config


def _faults_in(check: Callable[[], object]) -> tuple[Fault, ...]:
    try:
        check()
    except ConfigError as error:
        return error.faults
    return ()


def compose_resolved(
    texts: Sequence[str], config_dir: Path | None = None, trust: Sequence[str] = ()
) -> tuple[Composed, dict[str, Any]]:
    """Compose overrides and resolve `auto`.

    Raises:
        ConfigError: With the faults of the overrides, and those of the configuration that the other overrides make.
    """
    try:
        composed = compose(texts, config_dir)
    except ConfigError as error:
        sound = error.sound
        if sound is None:
            raise
        more = _faults_in(lambda: validate(resolve_auto(compose(sound, config_dir), trust), trust, heavy=False))
        raise ConfigError([*error.faults, *more]) from error
    return composed, resolve_auto(composed, trust)


def _evaluates(suite: Plain, kind: str, trust: Sequence[str]) -> bool:
    """Whether the suite is for this kind of task: by its node's `kind`, else by its class's."""
    of_class = getattr(resolve(suite.get("_target_"), "", trust), "kind", None)
    return suite.get("kind", of_class if isinstance(of_class, str) else None) in (None, kind)


def validate(config: Plain, trust: Sequence[str] = (), heavy: bool = True) -> dict[str, Component]:
    """Bind every node of a configuration to its class.

    Args:
        config: A configuration without `auto`.
        trust: Prefixes of modules that the user trusts.
        heavy: Whether third-party packages are imported for it. `show` does not import them: a node whose class is in
            one, such as LoRA's, is neither bound nor checked beyond its keys. The sweep, and parts that the method
            does not use, are never imported for.

    Raises:
        ConfigError: With all faults.
    """
    nodes = {}
    for key, node in config.items():
        if key in NOT_BUILT or node is None:
            continue
        nodes[key] = {"_target_": UNTARGETED[key], **node} if key in UNTARGETED else node
    used = references(config["method"], config)
    spared = [key for key in nodes if not heavy or key == "sweep" or (key in PARTS and key not in used)]
    light = [key for key in spared if key not in ALWAYS_BUILT]
    faults = _faults_of_seed(config.get("seed"))
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
        "workflow": "stepladder.methods.Step",
    }
    found: dict[str, Any] = {key: resolve(name, key) for key, name in names.items()}
    found["model"] = found["model"] | resolve("stepladder.models.ModelService", "model")
    for group in ("evaluation", "workflow"):
        found[group] = dict.__class_getitem__((str, found[group]))
    fine_tune = resolve("stepladder.tuning.FineTune", "tuning")
    return {**found, "adapter": hints_of(fine_tune)["adapter"], "tracking": Tracking}


def _faults_of_seed(seed: object) -> list[Fault]:
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32:
        return []
    several = f"; for several: stepladder compare seed={','.join(map(str, seed))}" if isinstance(seed, list) else ""
    what = "one experiment has one seed" if several else f"{seed!r} is not a seed"
    return [Fault("seed", what, f"give a whole number from 0 to 4294967295{several}")]
