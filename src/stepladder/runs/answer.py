"""New questions, answered by a stored fit.

Knows stored runs; knows no right answer, so it scores nothing and keeps nothing in the store.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.build import build
from stepladder.dataset.dataset import Dataset
from stepladder.errors import StoreError
from stepladder.methods.method import Method
from stepladder.records import Probe
from stepladder.runs.experiment import Experiment
from stepladder.runs.run import Circumstances
from stepladder.runs.stages import Prepared, prepare
from stepladder.runs.store import Store
from stepladder.runs.tracking import Untracked


def answer(folder: Path, file: Path, around: Circumstances) -> list[dict[str, Any]]:
    """One prediction a row of `file`, which has the columns of the run's dataset; answers in it are not looked at.

    `folder` is any of a run's three. Raises UserError where it is none, or where the fit is not in that store any more.
    """
    experiment = stored_experiment(folder)
    dataset: Dataset = build({"dataset": experiment.dataset}, trust=around.trust)["dataset"].object
    prepared = prepare(experiment, around.trust, around.read)
    questions, _ = dataset.questions(str(file))
    fit = _fit_of(folder, prepared)
    resources = around.resources(Untracked())
    method: Method = prepared.method.object
    method.load(fit / "artefact", resources)
    probe = Probe("new", prepared.data.task, questions, prepared.decoding)
    return [asdict(prediction) for prediction in method.predict(probe, resources)]


def stored_experiment(folder: Path) -> Experiment:
    """The experiment that made a folder of the store."""
    config = folder / "config.yaml"
    if not config.is_file():
        raise StoreError(
            "This is no folder of a run: it has no config.yaml", str(folder), "name a folder that 'run --json' printed"
        )
    if not (folder / "done.json").is_file():
        raise StoreError("This run is not finished", str(folder), "run it again; it goes on where it stopped")
    found = yaml.safe_load(config.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise StoreError("config.yaml holds no configuration", str(config), "name a folder that a run wrote")
    return Experiment.from_stored(found, str(config))


def _fit_of(folder: Path, prepared: Prepared) -> Path:
    if folder.parent.name == "fits":
        return folder
    entry = Store(folder.absolute().parent.parent).find("fits", prepared.fit_form.key)
    if entry is None:
        raise StoreError(
            "The fit of this run is not in its store, or its data has changed since",
            str(folder.absolute().parent.parent / "fits"),
            "run the experiment again, then predict",
        )
    return entry.folder
