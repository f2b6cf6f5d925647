"""New questions, answered by a stored fit.

Knows stored runs; knows no right answer, so it scores nothing and keeps nothing in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stepladder.config.build import build
from stepladder.config.schema import UNTARGETED
from stepladder.dataset.accounts import Rejected, bad_rows_error
from stepladder.dataset.dataset import Dataset
from stepladder.errors import UserError, did_you_mean
from stepladder.methods.method import Method
from stepladder.records import Decoding, Probe
from stepladder.runs.experiment import Experiment
from stepladder.runs.recorded import fit_of, stored_experiment
from stepladder.runs.refused import refused_questions
from stepladder.runs.run import Circumstances
from stepladder.runs.stages import load, read_task
from stepladder.runs.tracking import Untracked


def answer(
    folder: Path, file: Path, around: Circumstances, model: Mapping[str, str] | None = None
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One prediction a row of `file`, and what became of its rows. The file has the columns of the run's dataset;
    answers in it are not looked at. The data that the run was made from is not needed.

    `folder` is any of a run's three; `model` holds other values of the base model's keys, such as its `path` on this
    machine. Raises UserError where it is none, or where its fit is not in that store any more.
    """
    experiment = _with_model(stored_experiment(folder), model or {})
    fit = fit_of(folder)
    decoded = {"_target_": UNTARGETED["decoding"], **experiment.decoding}
    nodes = {"dataset": experiment.dataset, "method": experiment.method, "decoding": decoded}
    built = build(nodes, wanted={"dataset": Dataset, "method": Method, "decoding": Decoding}, trust=around.trust)
    dataset: Dataset = built["dataset"].object
    method: Method = built["method"].object
    questions, accounts = dataset.questions(str(file))
    if refused := refused_questions(method, read_task(fit), questions, around.store.shared()):
        if dataset.on_bad_row == "stop":
            bad = [Rejected(accounts.places[number], reason) for number, reason in refused.items()]
            raise bad_rows_error(bad, sum(accounts.read.values()))
        questions = tuple(question for number, question in enumerate(questions) if number not in refused)
        accounts = accounts.without({accounts.places[number]: reason for number, reason in refused.items()})
    for note in accounts.notes:
        around.progress.note(f"note: {note}")
    resources = around.resources(Untracked())
    load(method, fit, resources)
    decoding: Decoding = replace(built["decoding"].object, seed=experiment.seed)
    probe = Probe("new", read_task(fit), questions, decoding)
    return [asdict(prediction) for prediction in method.predict(probe, resources)], accounts.as_dict()


def _with_model(experiment: Experiment, values: Mapping[str, str]) -> Experiment:
    """The experiment with its base model elsewhere. That it is the same model is checked when the fit is opened."""
    if not values:
        return experiment
    node = experiment.method.get("model")
    if not isinstance(node, Mapping):
        raise UserError(
            "The method of this fit has no base model", "the command line", f"leave out model.{min(values)}"
        )
    known = [name for name in node if not name.startswith("_")]
    for name in values:
        if name not in known:
            raise UserError(f"The base model has no key model.{name}", "the command line", did_you_mean(name, known))
    return replace(experiment, method={**experiment.method, "model": {**node, **values}})
