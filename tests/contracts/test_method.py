"""What every rung promises, on the toy model: ids and order kept, no batch matters, what is saved comes back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.config.compose import compose
from stepladder.config.experiment import WITHOUT_MODEL, Experiment
from stepladder.config.options import conf_folder
from stepladder.config.resolution import resolve_auto
from stepladder.methods.method import Method
from stepladder.resources import Resources
from stepladder.runs.stages import Prepared, prepare
from stepladder.types import Prediction

RUNGS = sorted(f.stem for f in (conf_folder() / "method").glob("*.yaml"))


def prepared(rung: str, *more: str) -> Prepared:
    composed = compose(["experiment=first_look", f"method={rung}", "training.epochs=1", *more])
    return prepare(Experiment.from_config(resolve_auto(composed), composed.choices))


def fitted(ready: Prepared, seed: int = 0) -> Method:
    method: Method = ready.method.object
    method.fit(ready.data.training, Resources(), seed)
    return method


def same(ours: list[Prediction], theirs: list[Prediction]) -> bool:
    close = all(
        a.probabilities == pytest.approx(b.probabilities, abs=1e-4) if a.probabilities else a.text == b.text
        for a, b in zip(ours, theirs, strict=True)
    )
    return close and [(p.id, p.shown, p.prompt_tokens) for p in ours] == [
        (p.id, p.shown, p.prompt_tokens) for p in theirs
    ]


@pytest.mark.parametrize("rung", RUNGS)
def test_the_contract(rung: str, tmp_path: Path) -> None:
    ready = prepared(rung)
    method = fitted(ready)
    request = ready.main
    together = list(method.predict(request, Resources()))
    assert [p.id for p in together] == [q.id for q in request.questions]
    labels = set(ready.data.task.answer.labels)  # type: ignore[union-attr]
    assert {p.text for p in together} <= labels
    assert all(sum(p.probabilities.values()) == pytest.approx(1, abs=1e-5) for p in together if p.probabilities)
    alone = [
        prediction
        for question in request.questions[:5]
        for prediction in method.predict(replace(request, questions=(question,)), Resources(micro_batch=1))
    ]
    assert same(alone, together[:5])
    method.save(tmp_path)
    again: Method = prepared(rung).method.object
    again.load(tmp_path, Resources())
    assert same(list(again.predict(request, Resources())), together)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_same_seed_fits_the_same(rung: str) -> None:
    request = prepared(rung).main
    ours, theirs = (list(fitted(prepared(rung), seed=3).predict(request, Resources())) for _ in range(2))
    assert same(ours, theirs)


@pytest.mark.parametrize("rung", [r for r in RUNGS if r not in WITHOUT_MODEL])
def test_free_writing_keeps_order_and_batches(rung: str) -> None:
    ready = prepared(rung, "decoding=greedy", "decoding.max_new_tokens=4")
    method = fitted(ready)
    some = replace(ready.main, questions=ready.main.questions[:6])
    together = list(method.predict(some, Resources()))
    alone = list(method.predict(some, Resources(micro_batch=1)))
    assert [p.text for p in together] == [p.text for p in alone]
    assert [p.id for p in together] == [q.id for q in some.questions]
    assert all(p.failure for p in together if p.text not in ready.data.task.answer.labels)  # type: ignore[union-attr]


def test_what_a_fit_reads_is_all_that_it_depends_on() -> None:
    for rung in RUNGS:
        ready = prepared(rung)
        method: Method = ready.method.object
        assert method.reads <= {"labels", "train", "validation", "corpus", "seed"}
        if "train" not in method.reads and "corpus" not in method.reads:
            emptied = replace(ready.data.training, train=(), corpus=(), validation=())
            method.fit(emptied, Resources())
            assert len(list(method.predict(ready.main, Resources()))) == len(ready.main.questions)
