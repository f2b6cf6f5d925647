"""How long a run will take on this machine, measured on a small part of its work.

Every part that lasts is timed as the run would do it: reading the data, fitting on some of the rows, answering some of
the questions with the real model, a few training steps, scoring, and opening the tracker. Nothing is stored.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from stepladder.config.build import Component
from stepladder.evaluation.answers import Answers
from stepladder.methods.method import Method
from stepladder.resources import Resources, Silent, StageReport
from stepladder.runs import fitting
from stepladder.runs.run import RunContext
from stepladder.runs.stages import Prepared
from stepladder.runs.tracking import NoTracking, Tracking, open_tracker
from stepladder.store.writing import write_provenance
from stepladder.types import Decoding, Prediction, Question, TrainingData

ROWS = 2000
"""Of so many training rows at most a fit without training is timed."""

QUESTIONS = (4, 12, 36, 108, 324)
"""So many questions are answered, one number after the other, until SECONDS have passed."""

SECONDS = 3.0


@dataclass
class ExpectedTime:
    """Seconds by part of the run, and what each was measured on."""

    seconds: dict[str, float] = field(default_factory=dict)
    basis: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def as_dict(self) -> dict[str, Any]:
        parts = {name: round(seconds, 3) for name, seconds in self.seconds.items()}
        return {"seconds": round(self.total, 1), "parts": parts, "measured": list(self.basis)}

    @property
    def lines(self) -> list[str]:
        """For people."""
        parts = ", ".join(f"{name} {spoken(seconds)}" for name, seconds in self.seconds.items() if seconds >= 0.05)
        line = f"expected time on this machine: {spoken(self.total)} ({parts})"
        return [line, f"  measured on {'; '.join(self.basis)}"] if self.basis else [line]


def spoken(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def expected_time(
    prepared: Prepared,
    apart: Prepared,
    context: RunContext,
    facts: Mapping[str, float],
    stored: Mapping[str, bool],
    started: float,
) -> ExpectedTime:
    """Measure.

    Args:
        prepared: The experiment.
        apart: The same, with parts of its own: they are fitted here.
        context: Where the run would work. Models that are loaded here stay in it.
        facts: Of the rehearsal of a training: `expected_training_seconds`, and what loading for it took.
        stored: Which stages are in the store, and take no time.
        started: Seconds that the run takes up to here, since its process began.
    """
    found = ExpectedTime({"start": started})
    if all(stored.values()):
        return found
    resources = context.resources(Silent(), keeps=False)
    with _timed(found.seconds, "record"):
        _record(prepared)
    found.seconds["record"] *= sum(not there for there in stored.values())
    _fit(found, apart, resources, facts, stored["fit"])
    answers: list[Prediction] = []
    if prepared.tariff is not None:
        found.basis.append("no answers: requests to an API may cost money")
    elif not stored["predict"]:
        answers = _predict(found, prepared, apart, context, resources)
    if not stored["score"]:
        _score(found, prepared, answers)
    if not isinstance(context.tracking, NoTracking):
        with _timed(found.seconds, "tracking"):
            _track(context.tracking)
    return found


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began


def _record(prepared: Prepared) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_provenance(Path(folder), prepared.experiment, prepared.row_hashes, Component(None))


def _fit(found: ExpectedTime, apart: Prepared, resources: Resources, facts: Mapping[str, float], stored: bool) -> None:
    """A training by its rehearsal; any other fit on some of the rows. The method can answer then."""
    data, method = apart.data.training, apart.method.object
    share = max(1, -(-max(len(data.train), len(data.corpus)) // ROWS))
    some = TrainingData(data.task, data.train[::share], data.validation, data.corpus[::share])
    # A method that trains answers with its base model here; what it shows is fitted all the same.
    part: Any = getattr(method, "context", None) if getattr(method, "tunes", False) else method
    began = time.perf_counter()
    if part is not None:
        part.fit(some, replace(resources, report=StageReport()), apart.experiment.seed)
    seconds = (time.perf_counter() - began) * share
    if stored:
        return
    found.seconds["fit"] = seconds
    if share > 1:
        found.basis.append(f"a fit on {len(some.train):,} of {len(data.train):,} training rows")
    if "expected_training_seconds" in facts:
        devices = resources.devices.count if fitting.over_several(apart, resources.devices) else 1
        found.seconds["training"] = facts["expected_training_seconds"] / devices
        found.basis.append("training steps with the real model; early stopping may end it sooner")


def _predict(
    found: ExpectedTime, prepared: Prepared, apart: Prepared, context: RunContext, resources: Resources
) -> list[Prediction]:
    method: Method = apart.method.object
    asked = sum(len(request.questions) for request in prepared.requests.values())
    questions = sorted(prepared.main.questions, key=lambda question: len(question.text))
    request = replace(apart.main, tuned=False)
    loaded = bool(context.models)
    answers: list[Prediction] = []
    first = rate = 0.0
    began = time.perf_counter()
    for number, count in enumerate(QUESTIONS):
        some = _spread(questions, count)
        started = time.perf_counter()
        answers = list(method.predict(replace(request, questions=some), replace(resources, report=StageReport())))
        seconds = time.perf_counter() - started
        if number == 0 and getattr(method, "tunes", False):
            request = replace(request, decoding=_as_short_as_taught(request.decoding, apart, context))
        first = seconds if number == 0 else first
        rate = seconds / len(some)
        if number and (time.perf_counter() - began > SECONDS or len(some) == len(questions)):
            break
    found.seconds["predict"] = rate * asked
    # What is slower the first time: loading the model, compiling, packing weights.
    found.seconds["load"] = max(0.0, first - rate * min(QUESTIONS[0], len(questions)))
    if getattr(method, "tunes", False) and loaded:
        found.basis.append("loading was part of the preflight checks")
    found.basis.append(f"{len(answers):,} of {asked:,} answers")
    return answers


def _as_short_as_taught(decoding: Decoding, apart: Prepared, context: RunContext) -> Decoding:
    """A tuned model ends where its training answers ended; the base model often writes up to the limit."""
    examples = apart.data.train[:64]
    if decoding.mode == "choose" or not context.models or not examples:
        return decoding
    model = next(iter(context.models.values()))
    mean = sum(len(model.encode_answer(example.answers[0])) for example in examples) / len(examples)
    return replace(decoding, max_new_tokens=max(1, min(decoding.max_new_tokens, round(mean))))


def _spread(questions: Sequence[Question], count: int) -> tuple[Question, ...]:
    """So many questions, of all lengths."""
    if count >= len(questions):
        return tuple(questions)
    return tuple(questions[(2 * place + 1) * len(questions) // (2 * count)] for place in range(count))


def _score(found: ExpectedTime, prepared: Prepared, answers: Sequence[Prediction]) -> None:
    """The main suite judges answers that are made up of those that were given."""
    questions = prepared.main.questions
    given = answers or [Prediction("", example.answers[0]) for example in prepared.examples[:1]]
    made_up = tuple(replace(given[n % len(given)], id=question.id) for n, question in enumerate(questions))
    main, batches = prepared.main, prepared.eval_plan.suites[next(iter(prepared.suites))]
    names = [own for own, (request, _) in batches.items() if request == "main"]
    began = time.perf_counter()
    prepared.main_suite.object.score({name: Answers(main, made_up, prepared.examples) for name in names}, 0)
    found.seconds["score"] = (time.perf_counter() - began) * len(prepared.suites)


def _track(tracking: Tracking) -> None:
    """Open and close the tracker in a directory that is thrown away, offline."""
    offline: Any = tracking
    if is_dataclass(offline) and any(each.name == "mode" for each in fields(offline)):
        offline = replace(offline, mode="offline")  # type: ignore[type-var]
    with tempfile.TemporaryDirectory() as folder, open_tracker(offline, Path(folder), "timing", announce=False):
        pass
