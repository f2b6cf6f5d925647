"""An experiment as a value: dataset, method, decoding, evaluation and a seed.

Devices, trackers and folders are not part of it. An experiment has no name; a study may give it one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import PurePath
from typing import Any, Literal

from stepladder.config.compose import PARTS, expanded, references
from stepladder.config.value_types import fits
from stepladder.errors import StoreError
from stepladder.types import Plain

Rows = Literal["test", "validation"]
WITHOUT_MODEL = ("majority", "linear", "embedding", "encoder")
"""The options of `method` that use no language model."""

_NODES = ("dataset", "method", "decoding", "evaluation")
_STORED = {**dict.fromkeys((*_NODES, "choices"), Plain), "seed": int, "rows": Rows, "label": str}


@dataclass(frozen=True)
class Experiment:
    """Four resolved nodes and a seed.

    Attributes:
        rows: The split whose questions the method answers.
        label: The readable part of the folders' names. Not compared.
        choices: The option of each group that the experiment depends on. Not compared.
    """

    dataset: Plain
    method: Plain
    decoding: Plain
    evaluation: Plain
    seed: int = 0
    rows: Rows = "test"
    label: str = field(default="", compare=False)
    choices: Plain = field(default_factory=dict, compare=False)

    def on(self, rows: Rows) -> Experiment:
        """The same experiment on another split."""
        return replace(self, rows=rows)

    @classmethod
    def from_config(cls, config: Plain, choices: Plain | None = None) -> Experiment:
        """The experiment of a configuration without `auto`. `choices` (the option of each group) only name it."""
        nodes = {name: expanded(config, config[name]) for name in _NODES}
        used = {*nodes, *(references(config["method"], config) & {*PARTS})}
        chosen = {group: option for group, option in (choices or {}).items() if group in used}
        return cls(**nodes, seed=config["seed"], label=_label(choices or {}), choices=chosen)

    @property
    def dataset_name(self) -> str:
        """A readable name: the dataset's file, its repository, or its option of the group `dataset`."""
        source, option = self.dataset.get("source") or {}, self.choices.get("dataset")
        if source.get("repo"):
            return str(source["repo"])
        named = next((self.dataset[key] for key in ("train", "test") if self.dataset.get(key)), "")
        first = str(named[0] if isinstance(named, list | tuple) else named)
        return PurePath(first).name if first and option in (None, "file") else str(option or first)

    @property
    def model_name(self) -> str | None:
        """A readable name of the model; None for a method without one."""
        model = self.method.get("model")
        if not isinstance(model, Mapping):
            return None
        if model.get("repo") or model.get("path"):
            return str(model.get("repo") or PurePath(str(model["path"])).name)
        return str(self.choices.get("model") or model.get("distribution") or "a model")

    def as_config(self) -> dict[str, Any]:
        """Plain data that `from_stored` reads back."""
        return asdict(self)

    @classmethod
    def from_stored(cls, config: Plain, where: str) -> Experiment:
        """The experiment that `as_config` wrote.

        Raises:
            StoreError: Where `config`, read from `where`, was not written by `as_config`.
        """
        known = {field.name for field in fields(cls)}
        wrong = sorted({str(name) for name in config} - known)
        wrong += [name for name, of in _STORED.items() if not fits(config.get(name), of)]
        if wrong or not re.fullmatch(r"[\w-]*", config["label"]):
            what = f"This is not a stored experiment: {', '.join(wrong) or 'label'} is not what a run wrote"
            raise StoreError(what, where, "name a folder that a run wrote")
        return cls(**config)


def _label(choices: Plain) -> str:
    method = str(choices.get("method", ""))
    adapter = ["adapter"] if method.startswith("finetune") else []
    model = [] if method in WITHOUT_MODEL else ["model"]
    parts = [str(choices.get(group, "")) for group in ("method", *adapter, *model, "dataset")]
    return "-".join(re.sub(r"\W", "_", part) for part in parts if part)[:80]
