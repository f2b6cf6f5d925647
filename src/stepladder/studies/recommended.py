"""Which stored run a study recommends: a comparison's verdict, or the winner of a sweep on the test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.errors import StoreError, UserError, did_you_mean
from stepladder.io.files import expand_home, read_json
from stepladder.store.stored_run import stored_experiment
from stepladder.store.validation import has, only

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
            raise StoreError(what, str(folder), "give its command again, or name the comparison's directory")
    if "/" not in name and not expand_home(name).exists() and (outputs / "studies").is_dir():
        studies = [folder.name for folder in (outputs / "studies").iterdir() if folder.is_dir()]
        raise UserError(
            f"There is no study or directory '{name}'", str(outputs / "studies"), did_you_mean(name, studies)
        )
    return None


def recommended(study: Path) -> Recommended:
    """Raises UserError where the study recommends no method, or where its fit is not in the store any more."""
    compared = read_json(study / COMPARISON)
    method, runs, note = _of_comparison(study, compared) if compared else _of_sweep(study)
    return Recommended(method, _in_store(study, runs), note)


def _in_store(study: Path, folders: Mapping[str, Any]) -> Path:
    """The run's fit. Folders are written as absolute paths: a store that was moved has them under the same names."""
    name = Path(str(folders.get("fit", ""))).name
    fit = study.absolute().parent.parent / "fits" / name
    if not name or not (fit / "done.json").is_file():
        raise StoreError("The fit of the study's run is not in the store", str(fit), "give the study's command again")
    return fit


def _of_comparison(study: Path, compared: Mapping[str, Any]) -> tuple[str, Mapping[str, Any], str]:
    if not has(compared, {"rows": list, "verdict": Mapping[str, Any]}) or "recommended" not in compared["verdict"]:
        raise StoreError(
            "The file does not hold a comparison", str(study / COMPARISON), "give the study's command again"
        )
    rows, verdict = compared["rows"], compared["verdict"]
    method = verdict["recommended"]
    if method is None:
        reason = str(verdict.get("reason") or "").strip()
        what = "The study recommends no method" + (f": {reason}" if reason else "")
        fits = sorted({Path(str(row["folders"].get("fit", ""))).name for row in rows if has(row, {"folders": Mapping})})
        to_do = "name a fit of the study instead: " + ", ".join(
            str(study.parent.parent / "fits" / name) for name in fits
        )
        raise UserError(what, str(study), to_do)
    own = [row for row in rows if has(row, {"name": str, "seed": int, "folders": Mapping[str, Any]})]
    own = sorted((row for row in own if row["name"] == method), key=lambda row: row["seed"])
    if not own:
        raise StoreError(
            f"The study has no run of '{method}'", str(study / COMPARISON), "give the study's command again"
        )
    return method, own[0]["folders"], _of_seeds([row["seed"] for row in own])


def _of_seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}, the first of {len(seeds)}" if len(seeds) > 1 else ""


_OF_SWEEP: Mapping[str, Mapping[str, Any]] = {
    "test": {"folders": Mapping[str, Any]},
    "best": {"trial": int, "overrides": list[str]},
}


def _of_sweep(study: Path) -> tuple[str, Mapping[str, Any], str]:
    found = read_json(study / SWEEP) or {}
    test, best = (only(found.get(name), fields) for name, fields in _OF_SWEEP.items())
    if not test or len(best) < 2:
        what = "The sweep recommends no method: several objectives leave the choice to you, or it has no winner yet"
        raise UserError(what, str(study), "run one of its experiment/*.yaml and name the run's directory")
    fit = stored_experiment(_in_store(study, test["folders"]))
    method = str(fit.choices.get("method") or fit.label)
    return method, test["folders"], " ".join([f"trial {best['trial']}", *best["overrides"]])
