"""What suites ask becomes probes: each once, each with a key of all that its answers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from stepladder.config.compose import compose
from stepladder.config.experiment import Experiment
from stepladder.config.settle import settle
from stepladder.errors import ConfigError
from stepladder.evaluation.answered import Answered
from stepladder.evaluation.asking import Asked, Material, unfit
from stepladder.evaluation.suite import SuiteScores, TaskKind
from stepladder.runs.asking import inquiry
from stepladder.runs.stages import Prepared, prepare
from stepladder.types import Decoding, Example, Format, Passage, Question, Reading


def prepared(*overrides: str, rows: str = "test") -> Prepared:
    composed = compose(["experiment=first_look", *overrides])
    experiment = Experiment.from_config(settle(composed), composed.choices)
    return prepare(experiment.on(rows))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Asks:
    """A suite that asks what it is told to."""

    wanted: tuple[Asked, ...]
    kind: TaskKind | None = None

    def probes(self, material: Material) -> tuple[Asked, ...]:
        return self.wanted

    def score(self, answered: Mapping[str, Answered], seed: int) -> SuiteScores:
        return SuiteScores({})


class Refuses(Asks):
    def probes(self, material: Material) -> tuple[Asked, ...]:
        raise unfit("there is no tea", "make some")


@pytest.fixture(scope="module")
def ready() -> Prepared:
    return prepared("method=rag")


def test_what_two_suites_ask_is_asked_once_and_each_finds_it_under_its_own_name(ready: Prepared) -> None:
    material = ready.material
    first = (material.plain, material.ask("validation", material.validation))
    second = (material.ask("again", material.examples), material.ask("held", material.validation))
    found = inquiry({"a": Asks(first), "b": Asks(second)}, material, lambda probe: ready.predict_form(probe).key)
    assert list(found.probes) == ["main", "a.validation"]
    assert {own: name for own, (name, _) in found.suites["b"].items()} == {"again": "main", "held": "a.validation"}
    assert found.beside.keys() == {"a", "b"}
    assert "main" not in found.beside["a"]


def test_one_name_for_two_things_in_two_suites_is_two_probes(ready: Prepared) -> None:
    material = ready.material
    two = {
        "a": Asks((material.ask("some", material.examples[:2]),)),
        "b": Asks((material.ask("some", material.examples[:3]),)),
    }
    assert list(inquiry(two, material, lambda p: ready.predict_form(p).key).probes) == ["main", "a.some", "b.some"]


def test_what_suites_can_not_serve_is_told_of_all_of_them(ready: Prepared) -> None:
    with pytest.raises(ConfigError, match="2 faults") as told:
        inquiry({"a": Refuses(()), "b": Refuses(())}, ready.material, lambda probe: ready.predict_form(probe).key)
    assert [fault.key for fault in told.value.faults] == ["evaluation=a", "evaluation=b"]


def test_the_key_of_a_probe_holds_its_reading_by_content_and_not_its_name(ready: Prepared) -> None:
    material = ready.material

    def key(**changes: object) -> str:
        return ready.predict_form(material.ask("x", material.examples, **changes).probe).key  # type: ignore[arg-type]

    def shown(text: str) -> Reading:
        return Reading(passages={q.id: (Passage("p", text),) for q in material.main.questions})

    assert key() == ready.predict_form(material.main).key
    assert key(reading=shown("tea")) == key(reading=shown("tea"))
    keys = [
        key(),
        key(reading=Reading()),
        key(reading=shown("tea")),
        key(reading=shown("coffee")),
        key(reading=Reading(passages={q.id: () for q in material.main.questions})),
        key(reading=Reading(format=Format())),
        key(reading=Reading(format=Format(question="Q: {question}"))),
        key(reading=Reading(format=Format(instruction="Task: {instruction}"))),
        key(decoding=Decoding("greedy")),
        key(tuned=False),
    ]
    assert len(set(keys)) == len(keys)


def test_an_experiment_on_validation_rows_hands_out_nothing_beside_them(ready: Prepared) -> None:
    own = prepared("method=rag", rows="validation").material
    assert own.examples == ready.material.validation
    assert (own.rows, own.validation, own.out_of_scope) == ("validation", (), ())
    test_ids = {example.question.id for example in ready.material.examples}
    assert not test_ids & {question.id for question in own.main.questions}
    assert ready.material.validation


@pytest.mark.parametrize(
    ("method", "traits"),
    [
        ("majority", (False, False, False)),
        ("linear", (False, False, False)),
        ("few_shot", (True, False, False)),
        ("rag", (True, True, False)),
        ("finetune_rag", (True, True, True)),
    ],
)
def test_suites_are_told_what_makes_sense_for_a_method(method: str, traits: tuple[bool, ...]) -> None:
    material = prepared(f"method={method}").material
    assert (material.prompted, material.retrieves, material.tunes) == traits


def test_what_a_probe_is_judged_by_enters_the_score_key(ready: Prepared) -> None:
    def key(examples: tuple[Example, ...]) -> str:
        again = replace(ready)
        suite = replace(ready.main_suite, object=Asks((again.material.plain, again.material.ask("beside", examples))))
        return replace(ready, suites={"own": suite}).score_form.key

    question = Question("new", "Where is the tea?")
    answers = [key((Example(question, (answer,)),)) for answer in ("here", "there", "here")]
    assert answers[0] == answers[2] != answers[1]
    assert key((Example(replace(question, group="g"), ("here",)),)) != answers[0]


@pytest.mark.parametrize(
    ("override", "reads"), [("retrieval.without_gold=0.2", True), ("retrieval.without_gold=null", False)]
)
def test_training_gold_enters_the_fit_key_where_it_is_read(override: str, reads: bool) -> None:
    ready = prepared("method=finetune_rag", override)
    first, *others = ready.data.train
    known = replace(ready, data=replace(ready.data, train=(replace(first, gold=("p",)), *others)))
    assert (known.fit_form.key != ready.fit_form.key) == reads
