"""New questions, answered by a stored fit.

Knows stored runs; knows no right answer, so it scores nothing and keeps nothing in the store.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.build import build
from stepladder.config.schema import UNTARGETED
from stepladder.dataset.dataset import Dataset
from stepladder.errors import StoreError
from stepladder.methods.method import Method
from stepladder.records import Decoding, Probe
from stepladder.runs.experiment import Experiment
from stepladder.runs.run import Circumstances
from stepladder.runs.stages import read_task
from stepladder.runs.store import Store
from stepladder.runs.tracking import Untracked


def answer(folder: Path, file: Path, around: Circumstances) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One prediction a row of `file`, and what became of its rows. The file has the columns of the run's dataset;
    answers in it are not looked at. The data that the run was made from is not needed.

    `folder` is any of a run's three. Raises UserError where it is none, or where its fit is not in that store any more.
    """
    experiment = stored_experiment(folder)
    fit = _fit_of(folder)
    decoded = {"_target_": UNTARGETED["decoding"], **experiment.decoding}
    nodes = {"dataset": experiment.dataset, "method": experiment.method, "decoding": decoded}
    built = build(nodes, wanted={"dataset": Dataset, "method": Method}, trust=around.trust)
    questions, accounts = built["dataset"].object.questions(str(file))
    for note in accounts.notes:
        around.progress.note(f"note: {note}")
    resources = around.resources(Untracked())
    method: Method = built["method"].object
    method.load(fit / "artefact", resources)
    decoding: Decoding = replace(built["decoding"].object, seed=experiment.seed)
    probe = Probe("new", read_task(fit), questions, decoding)
    return [asdict(prediction) for prediction in method.predict(probe, resources)], accounts.as_dict()


def stored_experiment(folder: Path) -> Experiment:
    """The experiment that made a folder of the store."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise StoreError(
            "This is no folder of a run: it has no config.yaml", str(folder), "name a folder that 'run --json' printed"
        )
    if not (folder / "done.json").is_file():
        raise StoreError("This run is not finished", str(folder), "run it again; it goes on where it stopped")
    return Experiment.from_stored(_read_yaml(config), str(config))


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StoreError(f"The file is broken: {error}", str(file), "name a folder that a run wrote") from error
    if not isinstance(found, dict):
        raise StoreError("The file holds no mapping", str(file), "name a folder that a run wrote")
    return found


def _fit_of(folder: Path) -> Path:
    """The folder of the fit behind any folder of a run: each keeps the keys of what it was made from."""
    full, root = _read_yaml(folder / "full.yaml"), folder.absolute().parent.parent
    found: Path | None = folder
    if full.get("stage") == "score":
        entry = Store(root).find("predictions", str(full["predictions"]["main"]))
        found = entry.folder if entry else None
        full = _read_yaml(found / "full.yaml") if found else full
    if found is not None and full.get("stage") == "predict":
        entry = Store(root).find("fits", str(full["fit"]))
        found = entry.folder if entry else None
    if found is None:
        raise StoreError(
            "What this run was made from is not in its store any more", str(root), "run the experiment again"
        )
    return found
