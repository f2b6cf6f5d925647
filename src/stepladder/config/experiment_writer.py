"""Writes a configuration as an experiment file: the options that it chooses and the values that differ from theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from stepladder.config.compose import Assembled, assemble, conf_folders
from stepladder.config.experiment_defaults import GROUP, HEADER, Choice
from stepladder.config.merging import differing
from stepladder.config.options import chosen_by_default, conf_folder, groups
from stepladder.config.precedence import brought_by, node_of
from stepladder.io.files import write_text
from stepladder.io.redaction import mask
from stepladder.types import Plain

WIDTH = 120
MASKED = ("tracking", "sweep")
"""Nodes that are not part of an experiment and may hold a secret."""


def presentable(config: Plain) -> dict[str, Any]:
    """The configuration with the secrets of `MASKED` nodes masked."""
    return {key: mask(node) if key in MASKED else node for key, node in config.items()}


def as_experiment(
    texts: Sequence[str],
    config_dir: Path | None = None,
    without: Sequence[str] = (),
    comments: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The text of an experiment file that composes to the same configuration as the overrides `texts`.

    Interpolations stay as they are written, so that an override of `retrieval.k` still reaches a method that refers to
    retrieval. A choice that another choice implies (`prompt=structured` by `method=structured`) is not written.
    The groups `without` are left out; `comments` are lines to write as comments below each node, by its name.
    """
    assembled = assemble(texts, config_dir)
    whole: Any = OmegaConf.to_container(assembled.whole, resolve=False)
    values = {key: node for key, node in differing(assembled.base, whole).items() if key not in without}
    text = f"{HEADER}\n{_dumped({'defaults': _choices(assembled, conf_folders(config_dir), without)})}"
    below = {node: [f"  # {line}" for line in lines] for node, lines in (comments or {}).items() if lines}
    for key, node in presentable(values).items():
        heading, _, rest = _dumped({key: node}).partition("\n")
        text += "\n".join([heading, *below.pop(key, ()), rest])
    for key, lines in below.items():  # nodes that are as their options have them
        text += "\n".join([f"# {key}:", *lines, ""])
    return text


def copy_options(config_dir: Path, folder: Path) -> None:
    """Copy the options of the user's conf next to an experiment file, so that the folder is complete."""
    packaged = set(groups([conf_folder()])) - {GROUP}
    for file in sorted(config_dir.rglob("*.yaml")):
        name = file.relative_to(config_dir)
        if name.parts[0] in packaged and config_dir.resolve() != folder.resolve():
            write_text(folder / name, file.read_text(encoding="utf-8"))


def _choices(assembled: Assembled, folders: Sequence[Path], without: Sequence[str]) -> list[dict[str, Any]]:
    """The entries of the defaults list."""
    by_default = [group for group in chosen_by_default(folders) if group != GROUP]
    chosen = {group: assembled.choices.get(group) for group in by_default} | dict(assembled.choices)
    top = {g: o for g, o in chosen.items() if "/" not in g and "@" not in g and g not in without}
    brought: dict[str, Any] = {}
    for group, option in top.items():
        for name in option if isinstance(option, list) else [option]:
            brought |= brought_by(group, name, folders) if isinstance(name, str) else {}
    chosen = {g: o for g, o in top.items() if g not in by_default or brought.get(g, ...) != o}
    choices = [Choice(group, option, added=group not in by_default) for group, option in chosen.items()]
    choices += [choice for choice in assembled.nested if node_of(choice.group)[0] not in without]
    return [
        {f"{'' if c.added else 'override '}/{c.group}": tuple(c.option) if isinstance(c.option, list) else c.option}
        for c in choices
    ]


class _Dumper(yaml.SafeDumper):
    """Quotes every string that OmegaConf would read as a number (`1e-3`), and writes no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    reads_like_a_number = re.fullmatch(r"[-+.\d][-+.\d_:eE]*|[-+]?\.?(?i:inf|nan)", value)
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="'" if reads_like_a_number else None)


def _on_one_line(dumper: yaml.SafeDumper, values: tuple[Any, ...]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(tuple, _on_one_line)


def _dumped(data: Any) -> str:
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
