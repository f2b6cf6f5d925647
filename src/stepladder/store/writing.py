"""What a stage writes beside its result about its making: provenance.json, lock.txt, and hashes of every row.

Knows an experiment's parts, its data and its circumstances; computes nothing and knows no stage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from stepladder.config.build import Component
from stepladder.config.experiment import Experiment
from stepladder.dataset.loaded import Loaded
from stepladder.io.cache import file_hash
from stepladder.io.files import read_json, write_text
from stepladder.io.redaction import mask
from stepladder.models.checkpoints import Weights, read_files
from stepladder.resources import Resources
from stepladder.store.content_keys import example_content, passage_content, question_content
from stepladder.store.identity import digest
from stepladder.store.provenance import lock, provenance
from stepladder.store.validation import rows_of
from stepladder.types import Plain


def write_provenance(
    folder: Path, experiment: Experiment, data: RowHashes, method: Component, resources: Resources | None = None
) -> None:
    """Write all that making it again needs. `resources` are those of a stage that had any; a stage that has loaded no
    weights gives a method without them."""
    rows = data.kept(resources.shared if resources else None)
    compute = {**asdict(resources.devices), "micro_batch": resources.micro_batch} if resources else None
    found = provenance(rows, weights(method), mask(experiment.as_config()), compute)
    write_text(folder / "provenance.json", json.dumps(found, indent=1, ensure_ascii=False))
    write_text(folder / "lock.txt", lock())


def record_engine(folder: Path, engine: str | None, server: Plain | None = None) -> None:
    """Add the engine that ran the language model, and the server, to the provenance of a stage; nothing for None."""
    file = folder / "provenance.json"
    found = {name: value for name, value in (("engine", engine), ("server", server)) if value is not None}
    if found:
        write_text(file, json.dumps({**(read_json(file) or {}), **found}, indent=1, ensure_ascii=False))


@dataclass(frozen=True)
class RowHashes:
    """Hashes of the rows of a dataset, part by part: of a part in its order, and, in the store, of each row."""

    data: Loaded

    def kept(self, shared: Path | None) -> Plain:
        """By part, how many rows there are and the hash of all; each row's hash is kept under `shared`."""
        for name, part in self._parts.items():
            file = _file(shared, str(part["content"]))
            if file is not None and not file.exists():
                write_text(file, json.dumps({"rows": [[id_, digest(row)] for id_, row in self._part(name)]}))
        return dict(self._parts)

    @cached_property
    def _parts(self) -> Mapping[str, Plain]:
        parts = ("train", "validation", "test", "corpus", "out_of_scope")
        return {
            name: {"rows": len(getattr(self.data, name)), "content": digest([row for _, row in self._part(name)])}
            for name in parts
            if getattr(self.data, name)
        }

    def _part(self, name: str) -> Iterator[tuple[str, Any]]:
        if name == "corpus":
            yield from ((passage.id, passage_content(passage)) for passage in self.data.corpus)
        elif name == "out_of_scope":
            yield from ((question.id, question_content(question)) for question in self.data.out_of_scope)
        else:
            for example in getattr(self.data, name):
                question = example.question
                yield question.id, [*example_content(example), question.group, question.tags, example.gold]


def row_hashes(shared: Path, content: str) -> dict[str, str] | None:
    """The hash of each row, by its id, of a part with this hash; None where the store does not keep it."""
    file = _file(shared, content)
    found = read_json(file) if file else None
    return dict(rows_of(found)) if found else None


def _file(shared: Path | None, content: str) -> Path | None:
    return shared / f"rows-{content}.json" if shared and re.fullmatch("[0-9a-f]+", content) else None


def weights(method: Component, afresh: bool = False) -> dict[str, dict[str, str]]:
    """The SHA-256 of every file of every model that a method reads, by the place of the model in it.

    `afresh` reads them again, whatever is remembered of them.
    """
    return {
        name: {file.name: file_hash(file, afresh) for file in read_files(source.folder())}
        for name, source in _sources(method, "method")
    }


def _sources(component: Component, name: str) -> Iterator[tuple[str, Weights]]:
    if isinstance(component.object, Weights):
        yield name, component.object
    for key, argument in (*component.arguments.items(), *enumerate(component.items)):
        yield from _sources(argument, f"{name}.{key}")
