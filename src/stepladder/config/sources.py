"""The source that Hydra reads configuration files from: the packaged conf/ and the folder that the user names.

A user's folder may come from somebody else. Its defaults lists could name `../../any/file`, and its hydra node further
folders or packages, which Hydra would import. This source refuses what leads out of its folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

SCHEME, USER = "confined", "user"


def confined_address(folder: str) -> str:
    """The address under which Hydra reads a folder through `ConfinedSource`; other addresses (`pkg://`) stay."""
    return folder if "://" in folder else f"{SCHEME}://{folder}"


class ConfinedSource(ConfigSource):  # type: ignore[misc]
    """A folder of YAML files.

    Its methods are those of Hydra's plugin interface. They raise ConfigLoadError for a name that leads out of the
    folder; `load_config` raises it for a file that changes Hydra's own settings, too.
    """

    @staticmethod
    def scheme() -> str:
        return SCHEME

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def load_config(self, config_path: str) -> ConfigResult:
        file = self._inside(self._normalize_file_name(config_path))
        text = file.read_text(encoding="utf-8")
        header = self._get_header_dict(text)
        config: Any = OmegaConf.load(file)
        if "hydra" in config or "hydra" in str(header.get("package")):
            raise ConfigLoadError(f"'{config_path}' in {self.path} sets 'hydra', whose own settings are not used")
        return ConfigResult(config=config, path=self.full_path(), provider=self.provider, header=header)

    def is_config(self, config_path: str) -> bool:
        return self._inside(self._normalize_file_name(config_path)).is_file()

    def is_group(self, config_path: str) -> bool:
        return self._inside(config_path).is_dir()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found: list[str] = []
        for file in self._inside(config_path).iterdir():
            self._list_add_result(found, str(Path(config_path) / file.name), file.name, results_filter)
        return sorted(set(found))

    def _inside(self, name: str) -> Path:
        """The file of that name. In the user's folder, links must not lead out of it either."""
        folder = Path(self.path)
        outside = Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name
        if not outside and self.provider == USER:
            outside = not (folder / name).resolve().is_relative_to(folder.resolve())
        if outside:
            raise ConfigLoadError(f"'{name}' leads out of the folder {folder}")
        return folder / name
