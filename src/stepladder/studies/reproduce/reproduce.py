"""Repeats a stored run in a fresh store, and compares the two."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import fields
from itertools import count
from pathlib import Path

from stepladder.config.build import build
from stepladder.config.schema import UNTARGETED, Compute
from stepladder.dataset.loaded import Loaded
from stepladder.errors import StoreError, VerificationError
from stepladder.io import serialise
from stepladder.io.files import read_json, write_text
from stepladder.io.serialise import to_plain
from stepladder.resources import Progress, Silent
from stepladder.runs.run import RunContext, keys, report_rows, run_prepared
from stepladder.runs.stages import Prepared, prepare, require_this_version
from stepladder.store.store import Store
from stepladder.store.stored_run import Recorded, recorded, root_of
from stepladder.store.writing import weights
from stepladder.studies.reproduce.differences import run_differences
from stepladder.studies.reproduce.results import DiffResult, ReproductionResult, RunDifferences

RECORD = "reproduction.json"
"""In the fresh store: which run is made again in it, and, once that is done, what differs."""


def reproduce(
    folder: Path, outputs: Path | None = None, trust: Sequence[str] = (), progress: Progress | None = None
) -> ReproductionResult:
    """Repeat a stored run in a fresh store, and compare.

    Files that the run names by a relative path are looked for where it was started, if that folder is still there.

    Args:
        folder: Any directory of the run.
        outputs: The fresh store; None makes one in `reproductions` of the run's own store.
        trust: Modules whose classes may be used.

    Raises:
        UserError: The folder is not one of a run, the run cannot be repeated here, or the store is not fresh.
    """
    progress = progress or Silent()
    before = recorded(folder)
    require_this_version(before.named.folder)
    store = Store(_free(before) if outputs is None else outputs, progress.note)
    begun = {"folder": str(before.named.folder)}
    with _where_it_was_started(before, progress):
        read: dict[str, Loaded] = {}
        # what is remembered of the models' files is verified, and the experiment then built anew
        weights(prepare(before.experiment, trust, read).method, afresh=True)
        prepared = prepare(before.experiment, trust, read)
        _fresh(store, prepared, begun)
        write_text(store.root / RECORD, json.dumps(begun))
        report_rows(prepared, RunContext(store, progress=progress))
        # Answers come from the stored fit: where it is not what was trained, they differ from the first run's.
        context = RunContext(store, _compute(before), progress=progress, trust=trust, reopen_fit=True)
        made = run_prepared(prepared, context)
    now = recorded(made.score.folder)
    found = vars(run_differences(before, now))
    result = ReproductionResult(
        **found, folder=begun["folder"], reproduction=str(store.root), folders=made.result.folders
    )
    serialise.write(store.root / RECORD, result)
    return result


def diff(first: Path, second: Path) -> DiffResult:
    """What differs between two stored runs."""
    before, now = recorded(first), recorded(second)
    for run in (before, now):
        require_this_version(run.named.folder)
    folders = str(before.named.folder), str(now.named.folder)
    return DiffResult(folders=folders, **vars(run_differences(before, now)))


def verify(result: RunDifferences) -> None:
    """Raises VerificationError, with what differs and what can explain it, unless all results are the same."""
    if not result.same:
        found = [line for line, aspect in zip(result.lines, result.aspects, strict=True) if aspect.state == "differs"]
        raise VerificationError("\n  ".join(["The run was not reproduced", *found]), to_plain(result))


@contextmanager
def _where_it_was_started(before: Recorded, progress: Progress) -> Iterator[None]:
    folder = Path(str(before.named.provenance.get("folder", "")))
    there = folder.is_absolute() and folder.is_dir() and folder != Path.cwd()
    if there:
        progress.note(f"note: relative paths start at {folder}, where the run was started")
    with chdir(folder) if there else nullcontext():
        yield


def _compute(before: Recorded) -> Compute:
    """The devices of the first run; a GPU where there is one."""
    known = {field.name for field in fields(Compute)}
    options = {name: value for name, value in before.compute.items() if name in known}
    accelerator = "cpu" if options.get("accelerator") == "cpu" else "auto"
    node = {"_target_": UNTARGETED["compute"], **options, "accelerator": accelerator}
    compute: Compute = build({"compute": node}, {"compute": Compute})["compute"].object
    return compute


def _fresh(store: Store, prepared: Prepared, begun: Mapping[str, str]) -> None:
    """Raises StoreError where the store has anything of the run, unless this reproduction was cut short in it."""
    left = read_json(store.root / RECORD)
    if left == begun:
        return
    if left is not None or any(store.find(kind, key) for kind, key in keys(prepared)):
        raise StoreError(
            "This store is not fresh: it has the run already, or another reproduction",
            str(store.root),
            "name an empty folder with --outputs DIR",
        )


def _free(before: Recorded) -> Path:
    """A new folder in the run's store, or the one in which this reproduction was interrupted."""
    place = root_of(before.named.folder) / "reproductions"
    begun = {"folder": str(before.named.folder)}
    folders = (place / f"{before.named.folder.name}-{number}" for number in count(1))
    return next(folder for folder in folders if not folder.exists() or read_json(folder / RECORD) == begun)
