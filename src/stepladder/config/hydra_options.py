"""Runs Hydra: composes the chosen options of the groups, without resolving interpolations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from stepladder.config.interpolation import confined
from stepladder.config.sources import USER, ConfinedSource, confined_address
from stepladder.types import Plain


class _SearchPath(SearchPathPlugin):  # type: ignore[misc]
    """Puts the user's conf before the packaged one, so that a file of the same name wins, and reads both confined.

    It does nothing outside of `hydra_in`: other users of Hydra in this process keep their search path.
    """

    users: ClassVar[Sequence[Path] | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.users is None:
            return
        for element in search_path.get_path():
            element.path = confined_address(element.path)
        for folder in self.users:
            search_path.prepend(USER, confined_address(str(folder)), "main")


@contextmanager
def hydra_in(folders: Sequence[Path]) -> Iterator[None]:
    """Within it Hydra reads from these folders, the packaged conf/ last."""
    *users, packaged = folders
    Plugins.instance().register(_SearchPath)
    Plugins.instance().register(ConfinedSource)
    _SearchPath.users = users
    try:
        with initialize_config_dir(config_dir=str(packaged), version_base="1.3"):
            yield
    finally:
        _SearchPath.users = None


def composed_options(lines: Sequence[str], contents: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Hydra composes of these overrides, which choose options, and the option of every group.

    `contents` are the texts of all files that Hydra may read (`contents_of`).
    """
    with confined("oc.env"):  # Hydra's own node uses other resolvers
        found, choices = _composed(tuple(lines), contents)
    base: Any = OmegaConf.to_container(found, resolve=False)
    options = dict(line.split("=", 1) for line in lines if "=[" in line)
    return base, {**choices, **{group: names[1:-1].split(",") for group, names in options.items()}}


@lru_cache(maxsize=32)
def _composed(lines: tuple[str, ...], contents: str) -> tuple[DictConfig, Plain]:
    """Most trials of a sweep differ in values alone: a worker composes their options once."""
    whole: DictConfig = hydra_compose("config", overrides=list(lines), return_hydra_config=True)
    choices = {k: v for k, v in whole.hydra.runtime.choices.items() if k.split("/")[0] not in ("hydra", "experiment")}
    own = OmegaConf.masked_copy(whole, [str(k) for k in whole if k != "hydra"])
    return own, choices
