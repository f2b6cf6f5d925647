"""The cells of a comparison that differ in several keys, such as method and model, or lack one step of a workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override

from stepladder.config.compose import compose, conf_folders
from stepladder.config.options import file_of
from stepladder.config.resolution import compose_resolved
from stepladder.config.yaml_files import content_of
from stepladder.errors import ConfigError

WITHOUT = "without_"
"""The names of cells that lack one step begin so."""


def overrides_of_cells(
    parsed: Sequence[Override], config_dir: Path | None, trust: Sequence[str] = ()
) -> dict[str, list[str]]:
    """The overrides of each cell of the comparison; of one without a name where the comparison has no cells.

    The command line wins: an override of a cell whose key is on the command line is left out. A value on the command
    line of a group that the cells choose for themselves, such as `model.base_url`, is for the cells whose option has
    such a key.
    """
    fixed = [o for o in parsed if not o.is_sweep_override()]
    texts = [str(o.input_line) for o in fixed]
    choosing = [str(o.input_line) for o in fixed if o.key_or_group.split(".")[0] in ("comparison", "experiment")]
    try:
        comparison = compose(choosing, config_dir).config["comparison"]
    except ConfigError:
        comparison = {}  # the faults of the whole command line are reported instead
    if node := comparison.get("leave_out"):
        return _without_each(str(node), texts, config_dir, trust)
    named = comparison.get("cells") or {}
    sound = isinstance(named, Mapping) and all(isinstance(own, Mapping) for own in named.values())
    if not named or not sound:
        return {"": texts}
    said = {o.key_or_group for o in parsed}
    folders = conf_folders(config_dir)
    own = {
        name: [f"{key}={as_text(value)}" for key, value in cell.items() if key not in said]
        for name, cell in named.items()
    }
    unread = {
        (name, str(o.input_line))
        for name, cell in own.items()
        for o in fixed
        if not _reads(o.key_or_group, dict(text.split("=", 1) for text in cell), folders)
    }
    nowhere = [text for text in texts if all((name, text) in unread for name in own)]
    return {
        name: [*(text for text in texts if (name, text) not in unread or text in nowhere), *cell]
        for name, cell in own.items()
    }


def _without_each(node: str, texts: list[str], config_dir: Path | None, trust: Sequence[str]) -> dict[str, list[str]]:
    """The model alone, the whole node without each of its entries, and the whole node: the simplest cell first."""
    whole = [*texts, f"method={node}"]
    steps = list(compose_resolved(whole, config_dir, trust)[1].get(node) or {})
    if len(steps) < 2:
        return {f"{WITHOUT}{name}": [*texts, "method=zero_shot"] for name in steps} | {node: whole}
    each = {f"{WITHOUT}{name}": [*whole, f"~{node}.{name}"] for name in steps}
    return {"zero_shot": [*texts, "method=zero_shot"], **each, node: whole}


def as_text(value: object) -> str:
    """A value of conf/comparison as the value of an override."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _reads(key: str, chosen: Mapping[str, str], folders: Sequence[Path]) -> bool:
    """Whether the option that a cell chooses of a key's group has this key; true where the cell chooses none."""
    group, _, inside = key.partition(".")
    file = file_of(folders, group, chosen[group]) if inside and group in chosen else None
    return file is None or inside.split(".")[0] in content_of(file)
