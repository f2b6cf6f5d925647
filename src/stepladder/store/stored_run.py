"""Reads a finished run back from its directories."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stepladder.config.experiment import Experiment
from stepladder.errors import StoreError
from stepladder.io.files import expand_home, read_json
from stepladder.io.redaction import mask
from stepladder.store.store import KINDS, Kind, Store, changed, done, is_own, named, read_mapping
from stepladder.store.validation import PROVENANCE, DoneRecord, has, only
from stepladder.store.writing import row_hashes
from stepladder.types import Plain

_OF_WANDB = re.compile(r"(?:offline-)?run-[\d_]+-([0-9a-f]{16})(?:-.*?)??(?:-a(\d+))?(?:-r\d+)?")


@dataclass(frozen=True)
class Stage:
    """One finished folder."""

    folder: Path

    @cached_property
    def full(self) -> Plain:
        return read_mapping(self.folder / "full.yaml")

    @cached_property
    def done(self) -> DoneRecord | None:
        return done(self.folder)

    @property
    def facts(self) -> Plain:
        """The figures of its making; none where it is not finished."""
        return self.done.facts if self.done else {}

    @property
    def finished(self) -> str | None:
        """When it was finished."""
        return self.done.finished if self.done else None

    @cached_property
    def provenance(self) -> Plain:
        return only(read_json(self.folder / "provenance.json"), PROVENANCE)

    def changed(self) -> list[str]:
        """The files that are not what they were when the folder was finished."""
        return changed(self.folder)


@dataclass(frozen=True)
class Recorded:
    """A run as its store has it. `named`: the folder that was asked for; of the three stages, those that are there."""

    named: Stage
    experiment: Experiment
    fit: Stage | None
    predictions: Mapping[str, Stage]
    score: Stage | None

    @property
    def stages(self) -> dict[str, Stage]:
        """By name, in the order in which they were made."""
        found = {"fit": self.fit, **{f"predict {n}": s for n, s in self.predictions.items()}, "score": self.score}
        return {name: stage for name, stage in found.items() if stage is not None}

    @property
    def config(self) -> Plain:
        """The experiment as it was recorded when it ran, whatever has become of config.yaml since."""
        kept: Plain = self.named.provenance.get("config") or mask(self.experiment.as_config())
        return {name: node for name, node in kept.items() if name not in ("label", "choices")}

    @property
    def data(self) -> Mapping[str, Plain]:
        """By part of the dataset, how many rows and the hash of all, when the last stage ran."""
        *_, last = self.stages.values()
        found = last.provenance.get("data", {})
        return {name: record for name, record in found.items() if has(record, {"rows": int, "content": str})}

    def rows(self, part: str) -> dict[str, str] | None:
        """The hash of each row of a part, by id; None where the store does not keep it."""
        record = self.data.get(part)
        return row_hashes(root_of(self.named.folder) / "indexes", record["content"]) if record else {}

    @property
    def weights(self) -> Mapping[str, Mapping[str, str]]:
        """The hash of every file of every model that was read."""
        return {name: f for stage in self.stages.values() for name, f in stage.provenance.get("weights", {}).items()}

    @property
    def compute(self) -> Plain:
        found = (stage.provenance.get("compute") for stage in self.stages.values())
        return next((record for record in found if record), {})


def recorded(folder: Path) -> Recorded:
    """The run that any of its folders belongs to; a folder of a W&B run leads to the run in the store beside it.

    Raises StoreError where the folder is none of a finished run.
    """
    folder = _in_the_store(expand_home(str(folder)).absolute())
    experiment = stored_experiment(folder)
    this = Stage(folder)
    stage = this.full.get("stage")
    score = this if stage == "score" else next(_scores_of(this), None)
    predictions = {} if score is None else _predictions(score)
    if not predictions and stage == "predict":
        predictions = {"main": this}
    fit = this if stage == "fit" else next((f for p in predictions.values() if (f := _fit(p)) is not None), None)
    return Recorded(this, experiment, fit, predictions, score)


def stored_experiment(folder: Path) -> Experiment:
    """The experiment that made a folder of the store."""
    config = folder / "config.yaml"
    if not config.is_file():
        what = "This is no folder of a run: it has no config.yaml"
        raise StoreError(what, str(folder), "name a folder that 'run --json' printed")
    if folder.parent.name not in KINDS:
        raise StoreError("This is no folder of a run: it is in no store", str(folder), "name one that is in a store")
    if done(folder) is None:
        raise StoreError("This run is not finished", str(folder), "run it again; it resumes where it stopped")
    return Experiment.from_stored(read_mapping(config), str(config))


def fit_of(folder: Path) -> Path:
    """The folder of the fit behind any folder of a run: each keeps the keys of what it was made from."""
    this = Stage(folder)
    main = _predictions(this).get("main") if this.full.get("stage") == "score" else this
    fit = _fit(main) if main is not None and main.full.get("stage") == "predict" else main
    if fit is None:
        root = str(root_of(folder))
        raise StoreError("What this run was made from is not in its store any more", root, "run the experiment again")
    return fit.folder


def root_of(folder: Path) -> Path:
    """The root of the store that a folder is in."""
    return folder.absolute().parent.parent


def finished(root: Path, kind: Kind) -> Iterator[Stage]:
    """All finished folders of a kind, the last made first."""
    there = (root / kind).iterdir() if (root / kind).is_dir() else ()
    stages = [Stage(folder) for folder in there if named(folder) and is_own(folder) and done(folder) is not None]
    yield from sorted(stages, key=lambda stage: str(stage.finished), reverse=True)


def _beside(folder: Path) -> Store:
    _, attempt = named(folder) or ("", 1)
    return Store(root_of(folder), attempt=attempt)


def _predictions(score: Stage) -> dict[str, Stage]:
    store = _beside(score.folder)
    keys = score.full.get("predictions")
    listed = keys.items() if isinstance(keys, Mapping) else ()
    entries = {str(name): store.find("predictions", str(key)) for name, key in listed}
    return {name: Stage(entry.folder) for name, entry in entries.items() if entry is not None}


def _fit(prediction: Stage) -> Stage | None:
    entry = _beside(prediction.folder).find("fits", str(prediction.full.get("fit")))
    return Stage(entry.folder) if entry else None


def _scores_of(this: Stage) -> Iterator[Stage]:
    """The scores of the same experiment that were made from a fit or from predictions."""
    own, attempt = this.provenance.get("config"), _beside(this.folder).attempt
    for score in finished(root_of(this.folder), "scores"):
        same = _beside(score.folder).attempt == attempt
        if own is not None and same and score.provenance.get("config") == own:
            below = _predictions(score)
            fits = {fit.folder for p in below.values() if (fit := _fit(p)) is not None}
            if this.folder in {stage.folder for stage in below.values()} | fits:
                yield score


def _in_the_store(folder: Path) -> Path:
    """`folder`, or the score's folder that a W&B run shows."""
    shown = _OF_WANDB.fullmatch(folder.name)
    if shown is None or folder.parent.name != "wandb":
        return folder
    found = sorted((folder.parent.parent / KINDS[-1]).glob(f"*{shown[1]}" + (f"-r{shown[2]}" if shown[2] else "")))
    if not found:
        what = "The run that this W&B run shows is not in the store beside it"
        raise StoreError(what, str(folder), "name the run's own folder")
    return found[0]
