"""Runs Hydra: from choices of options to what their files make, unresolved, and the option of every group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from stepladder.config.interpolation import confined
from stepladder.config.sources import USER, Named, named


class _Confined(SearchPathPlugin):  # type: ignore[misc]
    """Puts the user's own conf before the packaged one, so that a file of the same name wins, and both in a source that
    nothing leads out of. Others who use Hydra in this process are not its business: it works while we compose."""

    users: ClassVar[Sequence[Path] | None] = None

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if self.users is None:
            return
        for element in search_path.get_path():
            element.path = named(element.path)
        for folder in self.users:
            search_path.prepend(USER, named(f"file://{folder}"), "main")


@contextmanager
def hydra_in(folders: Sequence[Path]) -> Iterator[None]:
    *users, packaged = folders
    Plugins.instance().register(_Confined)
    SourcesRegistry.instance().register(Named)
    _Confined.users = users
    try:
        with initialize_config_dir(config_dir=str(packaged), version_base="1.3"):
            yield
    finally:
        _Confined.users = None


def options_made(lines: Sequence[str], contents: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Hydra makes of these choices, unresolved, and the option of every group."""
    with confined("oc.env"):  # Hydra's own node asks others for its clock
        found, choices = chosen(tuple(lines), contents)
    base: Any = OmegaConf.to_container(found, resolve=False)
    lists = {
        key: value[1:-1].split(",") for key, _, value in (text.partition("=") for text in lines) if value[:1] == "["
    }
    return base, {**choices, **lists}


@lru_cache(maxsize=32)
def chosen(lines: tuple[str, ...], contents: str) -> tuple[DictConfig, Mapping[str, Any]]:
    """What these options make of files with these contents: a worker's trials mostly differ in values alone."""
    whole: DictConfig = hydra_compose("config", overrides=list(lines), return_hydra_config=True)
    choices = {k: v for k, v in whole.hydra.runtime.choices.items() if k.split("/")[0] not in ("hydra", "experiment")}
    own = OmegaConf.masked_copy(whole, [str(k) for k in whole if k != "hydra"])
    return own, choices
