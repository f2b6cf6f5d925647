"""What suites ask becomes requests: each once, each with a key of all that its answers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest

from stepladder.config.compose import compose
from stepladder.config.experiment import Experiment
from stepladder.config.resolution import resolve_auto
from stepladder.errors import ConfigError
from stepladder.evaluation.answers import Answers
from stepladder.evaluation.requests import EvalBatch, EvalInputs, unfit
from stepladder.evaluation.suite import SuiteScores, TaskKind
from stepladder.runs.eval_plan import plan_evaluation
from stepladder.runs.stages import Prepared, prepare
from stepladder.types import Decoding, Example, Format, Passage, PromptOverride, Question


def prepared(*overrides: str, rows: str = "test") -> Prepared:
    composed = compose(["experiment=first_look", *overrides])
    experiment = Experiment.from_config(resolve_auto(composed), composed.choices)
    return prepare(experiment.on(rows))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Asks:
    """A suite that asks what it is told to."""

    wanted: tuple[EvalBatch, ...]
    kind: TaskKind | None = None

    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        return self.wanted

    def score(self, answers: Mapping[str, Answers], seed: int) -> SuiteScores:
        return SuiteScores({})


class Refuses(Asks):
    def requests(self, inputs: EvalInputs) -> tuple[EvalBatch, ...]:
        raise unfit("there is no tea", "make some")


@pytest.fixture(scope="module")
def ready() -> Prepared:
    return prepared("method=rag")


def test_equal_requests_of_two_suites_are_answered_once_under_both_names(ready: Prepared) -> None:
    inputs = ready.inputs
    first = (inputs.plain, inputs.ask("validation", inputs.validation))
    second = (inputs.ask("again", inputs.examples), inputs.ask("held", inputs.validation))
    found = plan_evaluation(
        {"a": Asks(first), "b": Asks(second)}, inputs, lambda request: ready.predict_form(request).key
    )
    assert list(found.requests) == ["main", "a.validation"]
    assert {own: name for own, (name, _) in found.suites["b"].items()} == {"again": "main", "held": "a.validation"}
    assert found.beside.keys() == {"a", "b"}
    assert "main" not in found.beside["a"]


def test_one_name_for_two_things_in_two_suites_is_two_requests(ready: Prepared) -> None:
    inputs = ready.inputs
    two = {
        "a": Asks((inputs.ask("some", inputs.examples[:2]),)),
        "b": Asks((inputs.ask("some", inputs.examples[:3]),)),
    }
    assert list(plan_evaluation(two, inputs, lambda p: ready.predict_form(p).key).requests) == [
        "main",
        "a.some",
        "b.some",
    ]


def test_unsupported_suites_are_all_reported(ready: Prepared) -> None:
    with pytest.raises(ConfigError, match="2 faults") as told:
        plan_evaluation(
            {"a": Refuses(()), "b": Refuses(())}, ready.inputs, lambda request: ready.predict_form(request).key
        )
    assert [fault.key for fault in told.value.faults] == ["evaluation=a", "evaluation=b"]


def test_the_key_of_a_request_holds_its_override_by_content_and_not_its_name(ready: Prepared) -> None:
    inputs = ready.inputs

    def key(**changes: object) -> str:
        return ready.predict_form(inputs.ask("x", inputs.examples, **changes).request).key  # type: ignore[arg-type]

    def shown(text: str) -> PromptOverride:
        return PromptOverride(passages={q.id: (Passage("p", text),) for q in inputs.main.questions})

    assert key() == ready.predict_form(inputs.main).key
    assert key(override=shown("tea")) == key(override=shown("tea"))
    keys = [
        key(),
        key(override=PromptOverride()),
        key(override=shown("tea")),
        key(override=shown("coffee")),
        key(override=PromptOverride(passages={q.id: () for q in inputs.main.questions})),
        key(override=PromptOverride(format=Format())),
        key(override=PromptOverride(format=Format(question="Q: {question}"))),
        key(override=PromptOverride(format=Format(instruction="Task: {instruction}"))),
        key(decoding=Decoding("greedy")),
        key(tuned=False),
    ]
    assert len(set(keys)) == len(keys)


def test_an_experiment_on_validation_rows_passes_on_no_other_rows(ready: Prepared) -> None:
    own = prepared("method=rag", rows="validation").inputs
    assert own.examples == ready.inputs.validation
    assert (own.rows, own.validation, own.out_of_scope) == ("validation", (), ())
    test_ids = {example.question.id for example in ready.inputs.examples}
    assert not test_ids & {question.id for question in own.main.questions}
    assert ready.inputs.validation


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
def test_suites_know_the_traits_of_the_method(method: str, traits: tuple[bool, ...]) -> None:
    inputs = prepared(f"method={method}").inputs
    assert (inputs.prompted, inputs.retrieves, inputs.tunes) == traits


def test_what_a_request_is_judged_by_enters_the_score_key(ready: Prepared) -> None:
    def key(examples: tuple[Example, ...]) -> str:
        again = replace(ready)
        suite = replace(ready.main_suite, object=Asks((again.inputs.plain, again.inputs.ask("beside", examples))))
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
