"""Where Hydra reads files: in the packaged conf/ and in the folder that the user named, and nowhere else.

A configuration may be a stranger's: its defaults list could name ../../any/file, its hydra node other folders, or
packages, which Hydra would import. Knows Hydra's sources; composes nothing.
"""

from __future__ import annotations

from pathlib import Path

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigLoadError, ConfigResult

SCHEME, USER = "named", "user"


def named(address: str) -> str:
    """The address of a folder as one that nothing leads out of; others stay."""
    return address.replace("file://", f"{SCHEME}://", 1) if address and address.startswith("file://") else address


class Named(FileConfigSource):  # type: ignore[misc]
    """A folder of files. Raises ConfigLoadError for what does not lie in it, and for what sets Hydra itself."""

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        self._inside(self._normalize_file_name(config_path))
        loaded = super().load_config(config_path)
        if "hydra" in loaded.config or "hydra" in str(loaded.header.get("package")):
            raise ConfigLoadError(f"'{config_path}' in {self.path} sets 'hydra', whose own settings are not used")
        return loaded

    def is_config(self, config_path: str) -> bool:
        self._inside(self._normalize_file_name(config_path))
        return bool(super().is_config(config_path))

    def is_group(self, config_path: str) -> bool:
        self._inside(config_path)
        return bool(super().is_group(config_path))

    def _inside(self, name: str) -> None:
        """By its name; in the user's folder, which may be a stranger's, also where links lead."""
        folder = Path(self.path)
        outside = Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name
        if not outside and self.provider == USER:
            outside = not (folder / name).resolve().is_relative_to(folder.resolve())
        if outside:
            raise ConfigLoadError(f"'{name}' leads out of the folder {folder}")
