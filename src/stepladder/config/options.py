"""Where conf/ is, and which groups and options stand in it. Knows folders and names; loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def conf_folder() -> Path:
    """The packaged conf/: beside the modules in a wheel, at the checkout's top in an editable install."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def options(folders: Sequence[Path], group: str) -> list[str]:
    """The options of a group in any of the conf folders."""
    return sorted({f.stem for folder in folders for f in (folder / group).glob("*.yaml")})


def groups(folders: Sequence[Path]) -> list[str]:
    return sorted({d.name for folder in folders for d in folder.iterdir() if d.is_dir()})
