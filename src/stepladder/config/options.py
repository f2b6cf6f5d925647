"""Finds conf/ and lists its groups and options, from file names and the primary config's defaults list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from stepladder.config.yaml_files import content_of, defaults_of


def conf_folder() -> Path:
    """The packaged conf/: next to the modules in a wheel, at the checkout's top in an editable install."""
    installed = Path(__file__).parents[1] / "conf"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "conf"


def readable_folders(config_dir: Path | None) -> list[Path]:
    """The conf folders, the user's first if it exists."""
    return [folder for folder in (config_dir, conf_folder()) if folder is not None and folder.is_dir()]


def options(folders: Sequence[Path], group: str) -> list[str]:
    """The options of a group in any of the conf folders."""
    return sorted({f.stem for folder in folders for f in (folder / group).glob("*.yaml")})


def groups(folders: Sequence[Path]) -> list[str]:
    return sorted({d.name for folder in folders for d in folder.iterdir() if d.is_dir()})


def file_of(folders: Sequence[Path], group: str, option: str) -> Path | None:
    """The file of an option: the user's own before the packaged one. None where there is none inside of the folders."""
    for folder in folders:
        file = folder / group / f"{option}.yaml"
        named = "\0" not in option and ".." not in Path(option).parts and file.is_file()
        if named and file.resolve().is_relative_to(folder.resolve()):
            return file
    return None


def chosen_by_default(folders: Sequence[Path]) -> Mapping[str, object]:
    """The groups of the primary config's defaults list, with the option that it chooses of each."""
    primary = next(file for folder in folders if (file := folder / "config.yaml").is_file())
    return _defaults(primary, primary.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _defaults(primary: Path, changed: int) -> Mapping[str, object]:
    choices = [entry for entry in defaults_of(content_of(primary)) if isinstance(entry, Mapping)]
    return {str(key).removeprefix("/"): option for choice in choices for key, option in choice.items()}


def contents_of(folders: Sequence[Path], without: str) -> str:
    """The names and texts of all files in `folders` except those of the group `without`, as one text to compare."""
    each = ((folder, file) for folder in folders for file in sorted(folder.rglob("*.yaml")))
    files = [file for folder, file in each if file.relative_to(folder).parts[0] != without]
    return json.dumps([(str(file), file.read_bytes().decode("utf-8", errors="backslashreplace")) for file in files])
