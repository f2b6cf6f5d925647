"""The stored run that a study recommends: a comparison's verdict, or the winner of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stepladder.errors import StoreError, UserError, did_you_mean
from stepladder.io.files import expand_home
from stepladder.io.serialise import read
from stepladder.runs.results import RunFolders
from stepladder.store.stored_run import stored_experiment
from stepladder.studies.results import Comparison
from stepladder.studies.sweep.results import BestTrial, StoredSweep

COMPARISON, SWEEP = "comparison.json", "sweep.json"


@dataclass(frozen=True)
class Recommended:
    """A method that a study recommends, and the folder of its fit. `note` says how one of several runs was chosen."""

    method: str
    folder: Path
    note: str = ""


def study_of(name: str, outputs: Path) -> Path | None:
    """The directory of the study that `name` names, by path or by its name in the store `outputs`; None: no study."""
    for folder in (expand_home(name), outputs / "studies" / name):
        if (folder / COMPARISON).is_file() or (folder / SWEEP).is_file():
            return folder
        if folder.is_dir() and folder.absolute().parent.name == "studies":
            what = "This study has no result: it is not finished, or it is the search of one method within a comparison"
            raise StoreError(what, str(folder), "run its command again, or name the comparison's directory")
    if "/" not in name and not expand_home(name).exists() and (outputs / "studies").is_dir():
        studies = [folder.name for folder in (outputs / "studies").iterdir() if folder.is_dir()]
        raise UserError(
            f"There is no study or directory '{name}'", str(outputs / "studies"), did_you_mean(name, studies)
        )
    return None


def recommended(study: Path) -> Recommended:
    """The run that a study recommends.

    Raises:
        UserError: The study recommends no method, its file is damaged, or its fit is not in the store any more.
    """
    compared = read(Comparison, study / COMPARISON)
    return _of_sweep(study) if compared is None else _of_comparison(study, compared)


def _in_store(study: Path, folders: RunFolders) -> Path:
    """The run's fit. Stored paths are absolute: in a store that was moved, the fit has the same name."""
    fit = study.absolute().parent.parent / "fits" / Path(folders.fit).name
    if not (fit / "done.json").is_file():
        raise StoreError("The fit of the study's run is not in the store", str(fit), "run the study's command again")
    return fit


def _of_comparison(study: Path, compared: Comparison) -> Recommended:
    method = compared.verdict.recommended
    if method is None:
        what = f"The study recommends no method: {compared.verdict.reason.strip()}"
        fits = sorted({str(study.parent.parent / "fits" / Path(row.folders.fit).name) for row in compared.rows})
        raise UserError(what, str(study), f"name a fit of the study instead: {', '.join(fits)}")
    own = sorted(compared.runs_of(method), key=lambda row: row.seed)
    if not own:
        file = str(study / COMPARISON)
        raise StoreError(f"The study has no run of '{method}'", file, "run the study's command again")
    note = f"seed {own[0].seed}, the first of {len(own)}" if len(own) > 1 else ""
    return Recommended(method, _in_store(study, own[0].folders), note)


def _of_sweep(study: Path) -> Recommended:
    found = read(StoredSweep, study / SWEEP)
    if found is None or found.test is None or not isinstance(found.best, BestTrial):
        what = "The sweep recommends no method: several objectives leave the choice to you, or it has no winner yet"
        raise UserError(what, str(study), "run one of its experiment/*.yaml and name the run's directory")
    fit = _in_store(study, found.test.folders)
    stored = stored_experiment(fit)
    method = str(stored.choices.get("method") or stored.label)
    return Recommended(method, fit, " ".join([f"trial {found.best.trial}", *found.best.overrides]))
