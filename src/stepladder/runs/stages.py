"""What each stage does and writes: fit, predict, score. The only file that builds all the parts of an experiment.

It depends on no lock and on no study.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias
from zipfile import BadZipFile

from stepladder.config.build import Component, build
from stepladder.config.experiment import Experiment
from stepladder.config.schema import UNTARGETED
from stepladder.dataset.accounts import Place
from stepladder.dataset.dataset import Dataset, Loaded
from stepladder.errors import ConfigError, Fault, StoreError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalInputs
from stepladder.evaluation.suite import MetricSuite, Suite, SuiteScores
from stepladder.evaluation.tables import Table
from stepladder.io import serialise
from stepladder.io.cache import file_hash
from stepladder.io.files import discard, read_json, write_text
from stepladder.io.serialise import from_plain, to_plain
from stepladder.methods.method import Method
from stepladder.models.conversation import ModelService, Tariff
from stepladder.resources import Resources, StageReport
from stepladder.runs.card import write_card
from stepladder.runs.costs import answer_costs
from stepladder.runs.eval_plan import EvalPlan, plan_evaluation
from stepladder.runs.memory import peak
from stepladder.runs.predictions import write_predictions
from stepladder.runs.question_scores import write_question_scores
from stepladder.runs.refused import refused_rows
from stepladder.runs.results import Scores
from stepladder.store.content_keys import (
    decoding_content,
    example_content,
    gold_content,
    judged_content,
    passage_content,
    request_content,
    task_content,
)
from stepladder.store.identity import digest, identity
from stepladder.store.store import Form, changed, read_mapping
from stepladder.store.writing import RowHashes, record_engine, write_provenance
from stepladder.types import Answer, Choice, Decoding, EvalRequest, Example, Json, Plain, Prediction, Task, Text

StageFacts: TypeAlias = dict[str, Any]
"""What a stage writes into its done.json: figures, and of the score stage the scores."""
CODE_VERSION = 5
"""Raised when a stage does something else with the same parts."""


def require_this_version(folder: Path) -> None:
    """Raises StoreError where `folder` is no folder of a run, or where another version of the stages made it."""
    if not (folder / "full.yaml").is_file():
        what = "This is no folder of a run: it has no full.yaml" if folder.is_dir() else "There is no such directory"
        to_do = "name a directory of outputs/fits, or a study; 'stepladder list' shows runs"
        raise StoreError(what, str(folder), to_do)
    made_by = read_mapping(folder / "full.yaml").get("version")
    if made_by != CODE_VERSION:
        earlier = isinstance(made_by, int) and made_by < CODE_VERSION
        what = f"{'An earlier' if earlier else 'Another'} version of Stepladder made this result"
        what += f" (store version {made_by}, this one reads {CODE_VERSION})"
        raise StoreError(what, str(folder), "run the experiment again: the new result is stored beside the old one")


def older_results(root: Path) -> str | None:
    """A sentence for people where the newest fit of a store is of another version: its results are not reused."""
    fits = [file.parent for file in (root / "fits").glob("*/full.yaml") if (file.parent / "done.json").is_file()]
    newest = max(fits, key=lambda folder: (folder / "full.yaml").stat().st_mtime_ns, default=None)
    try:
        if newest is not None:
            require_this_version(newest)
    except StoreError as error:
        return f"{error.what}; results like it are not reused: {newest}"
    return None


@dataclass(frozen=True)
class Prepared:
    """An experiment with its parts built and its data read. Light: no weights are loaded, nothing is computed.

    `refused`: the rows that are not in `data` because the model's chat template refuses them, with the reason.
    """

    experiment: Experiment
    method: Component
    decoding: Decoding
    suites: Mapping[str, Component]
    data: Loaded
    refused: Mapping[Place, str] = field(default_factory=dict)

    @property
    def examples(self) -> tuple[Example, ...]:
        return self.data.held_out(self.experiment.rows)

    @cached_property
    def main(self) -> EvalRequest:
        questions = tuple(example.question for example in self.examples)
        return EvalRequest("main", self.data.task, questions, self.decoding)

    @cached_property
    def row_hashes(self) -> RowHashes:
        return RowHashes(self.data)

    @property
    def labels_used(self) -> int:
        """How many labelled rows the method reads: to learn from, to show, to choose by, or to look things up in."""
        reads = frozenset(self.method.object.reads)
        labelled = {e.question.id for e in self.data.train}
        looked_up = "corpus" in reads and any(passage.id in labelled for passage in self.data.corpus)
        chosen_by = len(self.data.validation) if "validation" in reads else 0
        return (len(labelled) if "train" in reads or looked_up else 0) + chosen_by

    @property
    def tariff(self) -> Tariff | None:
        """The prices of a model behind an API; None for other methods."""
        model = getattr(self.method.object, "model", None)
        return model.tariff if isinstance(model, ModelService) else None

    @property
    def seeded(self) -> bool:
        """Whether another seed may give other answers: the method draws something, or the decoding samples."""
        return "seed" in self.method.object.reads or self.decoding.mode == "sampled"

    @property
    def main_suite(self) -> Component:
        """What comparisons and sweeps look at."""
        return next(iter(self.suites.values()))

    @property
    def inputs(self) -> EvalInputs:
        """What suites make requests from. An experiment on validation rows passes on those rows and nothing else."""
        method, data = self.method.object, self.data
        final = self.experiment.rows == "test"
        return EvalInputs(
            self.main,
            self.examples,
            data.validation if final else (),
            data.out_of_scope if final else (),
            data.corpus,
            rows=self.experiment.rows,
            prompted=getattr(method, "prompted", True),
            retrieves="corpus" in method.reads,
            tunes=getattr(method, "tunes", False),
        )

    @cached_property
    def eval_plan(self) -> EvalPlan:
        """The requests of all suites. Raises ConfigError for every suite that does not support the data or decoding."""
        suites: dict[str, Suite] = {name: component.object for name, component in self.suites.items()}
        return plan_evaluation(suites, self.inputs, lambda request: self.predict_form(request).key)

    @property
    def requests(self) -> Mapping[str, EvalRequest]:
        return self.eval_plan.requests

    @cached_property
    def expected(self) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
        """The answers that count, by name of the request and id of the question."""
        found = {"main": {e.question.id: e.answers for e in self.examples}}
        for batches in self.eval_plan.suites.values():
            for name, batch in batches.values():
                found.setdefault(name, {e.question.id: e.answers for e in batch.examples})
        return found

    @cached_property
    def fit_form(self) -> Form:
        method: Method = self.method.object
        data = self.data
        hashes: dict[str, Callable[[], Any]] = {
            "labels": lambda: digest(task_content(data.task)),
            "train": lambda: digest([example_content(e) for e in data.train]),
            "validation": lambda: digest([example_content(e) for e in data.validation]),
            "corpus": lambda: digest([passage_content(p) for p in data.corpus]),
            "gold": lambda: digest([gold_content(e) for e in data.train]),
            "seed": lambda: self.experiment.seed,
            "objective": lambda: [identity(self.main_suite), decoding_content(self.decoding)],
        }
        read = {name: hashes[name]() for name in sorted(method.reads)}
        short = {"stage": "fit", "version": CODE_VERSION, "method": identity(self.method), "reads": read}
        return self._form(short, {**short, "method": identity(self.method, full=True)})

    def predict_form(self, request: EvalRequest) -> Form:
        content = request_content(request)
        asked = {**content, **{long: digest(content[long]) for long in ("questions", "reading") if content[long]}}
        form = {"stage": "predict", "version": CODE_VERSION, "fit": self.fit_form.key, "probe": asked}
        return self._form(form, form)

    @cached_property
    def score_form(self) -> Form:
        beside = {
            suite: {own: [name, digest([judged_content(e) for e in a.examples])] for own, (name, a) in batches.items()}
            for suite, batches in self.eval_plan.beside.items()
        }
        short = {
            "stage": "score",
            "version": CODE_VERSION,
            "predictions": {name: self.predict_form(request).key for name, request in self.requests.items()},
            "examples": digest([judged_content(e) for e in self.examples]),
            **({"beside": beside} if beside else {}),
            "suites": {name: identity(suite) for name, suite in self.suites.items()},
        }
        full = {**short, "suites": {name: identity(suite, full=True) for name, suite in self.suites.items()}}
        return self._form(short, full)

    def _form(self, short: Plain, full: Plain) -> Form:
        return Form(digest(short), self.experiment.label, self.experiment.as_config(), full)


def prepare(
    experiment: Experiment,
    trust: Sequence[str] = (),
    read: Mapping[str, Loaded] | None = None,
    shared: Path | None = None,
) -> Prepared:
    """Build the parts, all faults at once, then read the data. `read` holds data read before, by the node's digest.

    Rows that the chat template of the method's model refuses are bad rows, in every split; in `shared` it is stored
    which they are. An experiment on validation rows is given no test rows.

    Raises ConfigError, or DataError for what the files hold.
    """
    nodes = {
        "dataset": experiment.dataset,
        "method": experiment.method,
        "decoding": {"_target_": UNTARGETED["decoding"], **experiment.decoding},
        **{f"evaluation.{name}": node for name, node in experiment.evaluation.items()},
    }
    wanted: dict[str, type] = {"dataset": Dataset, "method": Method, "decoding": Decoding}
    wanted |= {name: Suite for name in nodes if name.startswith("evaluation.")}
    built = build(nodes, wanted=wanted, trust=trust)
    key = digest([experiment.dataset, experiment.rows])
    data = read[key] if read is not None and key in read else built["dataset"].object.read()
    if experiment.rows == "validation":
        data = replace(data, test=(), places={**data.places, "test": ()})
    if isinstance(read, dict):
        read[key] = data
    decoding: Decoding = built["decoding"].object
    _decodable(decoding, data.task)
    check = getattr(built["method"].object, "check", None)
    if check is not None:
        check(data.task, decoding)
    decoding = replace(decoding, seed=experiment.seed if decoding.mode == "sampled" else 0)
    suites = {name: built[f"evaluation.{name}"] for name in experiment.evaluation}
    if not isinstance(next((suite.object for suite in suites.values()), None), MetricSuite):
        what = "the first suite has no metrics to judge the plain answers by"
        raise ConfigError(Fault("evaluation", what, "keep the task's own suite, evaluation=auto, and add to it"))
    refused = refused_rows(built["method"].object, data, built["dataset"].object.on_bad_row, shared)
    data = data.without(refused) if refused else data
    data.held_out(experiment.rows)
    _learnable(built["method"].object, data)
    prepared = Prepared(experiment, built["method"], decoding, suites, data, refused)
    _ = prepared.eval_plan  # raises for an unsupported suite before anything is computed
    return prepared


def _learnable(method: Method, data: Loaded) -> None:
    for what, there, to_do in (
        ("train", data.train, "give dataset.train=FILE"),
        ("corpus", data.corpus, "give dataset.corpus=FILE or dataset.train=FILE"),
    ):
        if what in method.reads and not there:
            raise ConfigError(Fault(f"dataset.{what}", f"the method reads the {what} rows, and there are none", to_do))


def _decodable(decoding: Decoding, task: Task) -> None:
    if {"choose": "choice", "json": "json"}.get(decoding.mode, task.kind) != task.kind:
        what = f"'{decoding.mode}' can not answer a {task.kind} task"
        raise ConfigError(Fault("decoding.mode", what, "say decoding=auto or greedy"))


def begin(prepared: Prepared, folder: Path, resources: Resources) -> None:
    """Write what a fit is made from, and the task that it is made for."""
    _record(prepared, folder, resources, weights=getattr(prepared.method.object, "tunes", False))
    write_text(folder / "task.json", json.dumps(task_content(prepared.data.task), indent=1, ensure_ascii=False))


def fit(prepared: Prepared, folder: Path, resources: Resources) -> StageFacts:
    """Fit the method and save it under `folder`/artefact. Returns the facts of the fit. Of several processes that fit
    it together the first saves."""
    method: Method = prepared.method.object
    resources = replace(resources, folder=folder, report=StageReport(), judge=partial(_judged, prepared))
    started = time.perf_counter()
    with peak() as memory:
        method.fit(prepared.data.training, resources, prepared.experiment.seed)
    if resources.leads:
        artefact = folder / "artefact"
        artefact.mkdir()
        method.save(artefact)
        if getattr(method, "tunes", False):
            write_card(artefact, prepared.experiment, prepared.data, resources.report.figures)
        record_engine(folder, resources.report.engine)
        discard(folder / "checkpoints")
    most = {f"training_{name}": value for name, value in memory.items()}
    gate = {"gate": to_plain(resources.report.checks)} if resources.report.checks else {}
    return {**resources.report.figures, **most, "seconds": round(time.perf_counter() - started, 3), **gate}


def _judged(prepared: Prepared, ask: Callable[[EvalRequest], Iterable[Prediction]]) -> dict[str, float]:
    """The main suite's figures on the validation rows, as a fit goes: the main metric first, and no interval."""
    examples, suite = prepared.data.validation, prepared.main_suite.object
    if not isinstance(suite, MetricSuite):
        raise ConfigError(Fault("training.validate_with", "the main suite has no metrics to go by", "say loss"))
    request = EvalRequest("validation", prepared.data.task, tuple(e.question for e in examples), prepared.decoding)
    return suite.figures(Answers(request, tuple(ask(request)), examples))


def predict(prepared: Prepared, name: str, folder: Path, resources: Resources) -> StageFacts:
    """Ask a fitted method the request `name` and write predictions.jsonl. Returns what the answers cost."""
    request = prepared.requests[name]
    method: Method = prepared.method.object
    resources = replace(resources, folder=folder, report=StageReport())
    with peak() as memory:
        predictions = list(method.predict(request, resources))
    _record(prepared, folder, resources, weights=True)
    record_engine(folder, resources.report.engine, resources.report.server)
    write_predictions(folder, request, predictions, prepared.expected[name])
    return {**resources.report.figures, **to_plain(answer_costs(predictions)), **memory}


def load(method: Method, fit: Path, resources: Resources) -> None:
    """Open what a fit has left in its folder. Raises StoreError where that is not what it was, or can not be opened."""
    broken = changed(fit, file_hash)
    try:
        if not broken:
            method.load(fit / "artefact", resources)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, BadZipFile) as error:
        broken = [f"{type(error).__name__}: {error}"]
    if broken:
        to_do = "remove that folder and run the experiment again"
        raise StoreError(f"The stored fit is broken: {', '.join(broken[:3])}", str(fit), to_do)


def score(prepared: Prepared, predictions: Mapping[str, tuple[Prediction, ...]], folder: Path, seed: int) -> StageFacts:
    """Score the predictions, which are given by request, and write scores.json and per_question.jsonl."""
    scored: dict[str, SuiteScores] = {}
    for suite, batches in prepared.eval_plan.suites.items():
        answers = {own: Answers(b.request, predictions[name], b.examples) for own, (name, b) in batches.items()}
        scored[suite] = prepared.suites[suite].object.score(answers, seed)
    _record(prepared, folder)
    write_question_scores(folder, scored)
    left_out = {name: dict(why) for name, s in scored.items() if (why := s.details.get("left_out"))}
    # What a suite did not measure and why, for reports.
    more = {
        name: Table("Left out", ("what", "why"), [[*each] for each in why.items()]) for name, why in left_out.items()
    }
    whole = Scores(
        scores={name: s.metrics for name, s in scored.items()},
        details={name: s.details for name, s in scored.items()},
        tables={name: (*s.tables, *((more[name],) if name in more else ())) for name, s in scored.items()},
        rows=prepared.data.accounts.counts(),
    )
    serialise.write(folder / "scores.json", whole)
    return {"scores": to_plain(whole.scores), "left_out": left_out}


def _record(prepared: Prepared, folder: Path, resources: Resources | None = None, *, weights: bool = False) -> None:
    """What the folder is made from and where; of base `weights` only where the stage reads them anyway."""
    method = prepared.method if weights else Component(None)
    write_provenance(folder, prepared.experiment, prepared.row_hashes, method, resources)


def read_task(folder: Path) -> Task:
    """The task that a fit was made for."""
    file = folder / "task.json"
    found = read_json(file) or {}
    answers: dict[str, type[Answer]] = {"choice": Choice, "text": Text, "json": Json}
    answer = answers.get(str(found.get("kind")))
    if answer is None or not isinstance(found.get("instruction"), str):
        raise StoreError("The fit has no task", str(file), "run the experiment again")
    return Task(found["instruction"], from_plain(answer, found, str(file)))
