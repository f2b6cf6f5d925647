"""Workflows: identities with the plain methods, what each step does, what they refuse, and what they cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from stepladder.context.context import NoContext
from stepladder.context.demonstrations import Demonstrations
from stepladder.context.prompt import PlainPrompt, StructuredPrompt
from stepladder.errors import ConfigError
from stepladder.methods.adapted_model import AdaptedModel
from stepladder.methods.baselines import Linear
from stepladder.methods.workflow.answer_checks import HouseRules, TaskForm
from stepladder.methods.workflow.check_and_repair import CheckAndRepair
from stepladder.methods.workflow.decompose import Decompose
from stepladder.methods.workflow.self_consistency import SelfConsistency
from stepladder.methods.workflow.shortlist import Shortlist
from stepladder.methods.workflow.step import Step
from stepladder.methods.workflow.workflow import Workflow
from stepladder.models.toy import ToyCheckpoint, ToyEmbedder
from stepladder.resources import Resources
from stepladder.tuning.tuning import Frozen
from stepladder.types import (
    Answer,
    Choice,
    Decoding,
    EvalRequest,
    Example,
    Json,
    Prediction,
    Question,
    Task,
    Text,
    TrainingData,
)

LABELS = ("card", "loan", "rent", "tax")
TEXTS = ("my card is lost", "a loan please", "the rent is due", "my tax form", "card and loan")
SCHEMA = {
    "type": "object",
    "properties": {"who": {"type": "string", "maxLength": 12}, "when": {"type": "string", "maxLength": 12}},
    "required": ["who"],
}
ONE_FIELD = {"type": "object", "properties": {"who": {"type": "string", "maxLength": 12}}, "required": ["who"]}


def data(answer: Answer) -> TrainingData:
    rows = [(f"{label} {n}", label) for label in LABELS for n in ("one", "two", "three")]
    train = tuple(Example(Question(f"t{n}", text), (label,)) for n, (text, label) in enumerate(rows))
    return TrainingData(Task("Which topic?", answer), train)


def request(answer: Answer, decoding: Decoding) -> EvalRequest:
    questions = tuple(Question(f"q{n}", text) for n, text in enumerate(TEXTS))
    return EvalRequest("main", Task("Which topic?", answer), questions, decoding)


def plain(prompt: PlainPrompt | None = None) -> AdaptedModel:
    return AdaptedModel(ToyCheckpoint(), prompt or PlainPrompt(), NoContext(), Frozen())


def workflow(prompt: PlainPrompt | None = None, **steps: Step) -> Workflow:
    return Workflow(ToyCheckpoint(), prompt or PlainPrompt(), NoContext(), Frozen(), steps)


def answered(method: AdaptedModel | Workflow, asked: EvalRequest) -> list[Prediction]:
    method.fit(data(asked.task.answer), Resources())
    return [replace(found, seconds=0.0) for found in method.predict(asked, Resources())]


@dataclass(frozen=True)
class Accepts:
    """Finds no fault in any answer."""

    def faults(self, answer: Prediction, question: Question, task: Task) -> list[str]:
        return []


CHOOSE, GREEDY, JSON = Decoding("choose"), Decoding("greedy", 12), Decoding("json", 40)


@pytest.mark.parametrize("prompt", [PlainPrompt(), StructuredPrompt()], ids=["plain", "structured"])
@pytest.mark.parametrize("k", [4, 9])
def test_a_shortlist_of_all_labels_is_zero_shot(k: int, prompt: PlainPrompt) -> None:
    asked = request(Choice(LABELS), CHOOSE)
    assert answered(workflow(prompt, short=Shortlist(k, Linear())), asked) == answered(plain(prompt), asked)


@pytest.mark.parametrize(
    ("answer", "decoding"), [(Choice(LABELS), CHOOSE), (Choice(LABELS), GREEDY), (Text(), GREEDY), (Json(SCHEMA), JSON)]
)
def test_a_validator_that_accepts_everything_changes_nothing(answer: Answer, decoding: Decoding) -> None:
    asked = request(answer, decoding)
    assert answered(workflow(check=CheckAndRepair(3, Accepts())), asked) == answered(plain(), asked)


@pytest.mark.parametrize("answer", [Choice(LABELS), Text()], ids=["labels", "text"])
def test_one_sample_at_temperature_zero_is_greedy(answer: Answer) -> None:
    asked = request(answer, GREEDY)
    found = answered(workflow(vote=SelfConsistency(1, 0.0)), asked)
    assert [replace(each, probabilities=None) for each in found] == answered(plain(), asked)
    assert all(each.probabilities is None or max(each.probabilities.values()) == 1 for each in found)


def test_decomposing_one_field_is_json() -> None:
    asked = request(Json(ONE_FIELD), JSON)
    assert answered(workflow(parts=Decompose()), asked) == answered(plain(), asked)


def test_a_shortlist_keeps_the_likeliest_labels_and_gives_the_others_no_probability() -> None:
    found = answered(workflow(short=Shortlist(2, Linear())), request(Choice(LABELS), CHOOSE))
    assert [set(each.candidates) for each in found[:2]] == [
        {"card", *(set(found[0].candidates) - {"card"})},
        {"loan", *(set(found[1].candidates) - {"loan"})},
    ]
    for each in found:
        assert each.probabilities is not None
        assert each.text in each.candidates
        assert len(each.candidates) == 2
        assert tuple(each.probabilities) == LABELS
        assert sum(each.probabilities.values()) == pytest.approx(1)
        assert all(each.probabilities[label] == 0 for label in set(LABELS) - {*each.candidates})
        assert each.calls == 1
    assert set(found[4].candidates) == {"card", "loan"}


def test_a_shortlist_of_the_nearest_rows_labels() -> None:
    by = Demonstrations(12, "nearest", ToyEmbedder(64))
    found = answered(workflow(short=Shortlist(1, by)), request(Choice(LABELS), CHOOSE))
    assert [each.text for each in found[:4]] == list(LABELS)


def test_a_prompt_that_lists_labels_lists_those_of_the_shortlist_alone() -> None:
    method = workflow(StructuredPrompt(), short=Shortlist(2, Linear()))
    asked = request(Choice(LABELS), CHOOSE)
    found, whole = answered(method, asked), answered(plain(StructuredPrompt()), asked)
    assert all(few.prompt_tokens != all_.prompt_tokens for few, all_ in zip(found, whole, strict=True))


@dataclass(frozen=True)
class Flawed:
    """Every answer to a question that was not asked again has one fault more than `by` answers."""

    until: int

    def faults(self, answer: Prediction, question: Question, task: Task) -> list[str]:
        return ["It is wrong."] * max(0, self.until - answer.new_tokens % 2)


def test_faulty_answers_are_asked_for_again_and_every_request_is_counted() -> None:
    asked = request(Text(), GREEDY)
    once = answered(plain(), asked)
    found = answered(workflow(check=CheckAndRepair(2, Flawed(5))), asked)
    assert [each.calls for each in found] == [3] * len(TEXTS)
    assert all(each.prompt_tokens > 3 * first.prompt_tokens for each, first in zip(found, once, strict=True))
    assert [each.prompt_hash for each in found] == [each.prompt_hash for each in once]


def recorded(step: Step, answers: Callable[[EvalRequest, int], list[Prediction]], asked: EvalRequest) -> Any:
    """The answers of a step to a scripted model, and the requests that it made."""
    seen: list[EvalRequest] = []

    def ask(inner: EvalRequest) -> list[Prediction]:
        seen.append(inner)
        return answers(inner, len(seen))

    return step.answer(asked, ask, Resources()), seen


def says(texts: Mapping[int, str]) -> Callable[[EvalRequest, int], list[Prediction]]:
    return lambda inner, turn: [
        Prediction(q.id, texts[turn], prompt_tokens=10, new_tokens=turn, seconds=1.0, calls=1) for q in inner.questions
    ]


def test_a_repair_names_the_faults_and_stops_at_the_first_sound_answer() -> None:
    one = replace(request(Json(SCHEMA), GREEDY), questions=(Question("q", "Who {faults}?"),))
    texts = {1: "Ann", 2: '{"when": "{question}"}', 3: '{"who": "Ann"}'}
    found, seen = recorded(CheckAndRepair(5, template="{question} ({answer}) {faults}"), says(texts), one)
    assert [each.text for each in found] == ['{"who": "Ann"}']
    assert (found[0].calls, found[0].prompt_tokens, found[0].new_tokens, found[0].seconds) == (3, 30, 6, 3.0)
    second, third = (each.questions[0].text for each in seen[1:])
    form = 'Answer with JSON and nothing else, in this form: {"who": "...", "when": "..."}'
    assert second == f"Who {{faults}}? (Ann) {form}"
    assert third.startswith('Who {faults}? ({"when": "{question}"}) The answer does not meet the schema at $: ')
    assert third.endswith(f"'who' is a required property. {form}")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('```json\n{"who": "Ann"}\n```', '{"who":"Ann"}'),
        ('Here: {"who": "Ann", "age": 3} as you asked', '{"who":"Ann"}'),
        ('{"who": "Ann", "when": "noon", "when_else": "no', '{"who":"Ann","when":"noon"}'),
        ('{"when": "noon"}', None),
        ("no object", None),
        ("[1, 2]", None),
    ],
)
def test_the_json_object_inside_a_text_needs_no_further_request(text: str, wanted: str | None) -> None:
    schema = Json({**SCHEMA, "additionalProperties": False})
    one = replace(request(schema, GREEDY), questions=(Question("q", "?"),))
    found, seen = recorded(CheckAndRepair(1), says({1: text, 2: "still none"}), one)
    assert len(seen) == (1 if wanted else 2)
    assert found[0].text == (wanted or text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("It is card.", "card"), ("card or loan", None), ("cards", None), ("", None)]
)
def test_the_only_label_that_a_text_names_needs_no_further_request(text: str, wanted: str | None) -> None:
    one = replace(request(Choice(LABELS), GREEDY), questions=(Question("q", "?"),))

    def answers(inner: EvalRequest, turn: int) -> list[Prediction]:
        return [Prediction("q", text, failure="names no label", calls=1)]

    found, seen = recorded(CheckAndRepair(1), answers, one)
    assert len(seen) == (1 if wanted else 2)
    assert (found[0].text, found[0].failure) == ((wanted, None) if wanted else (text, "names no label"))


def test_of_faulty_answers_the_one_with_the_fewest_faults_is_kept() -> None:
    rules = HouseRules({"short": {"max_words": 2}, "polite": {"must": "please", "say": "Say please."}})
    one = replace(request(Text(), GREEDY), questions=(Question("q", "?"),))
    texts = {1: "no no no", 2: "please be so kind", 3: "no no no no"}
    found, seen = recorded(CheckAndRepair(2, rules), says(texts), one)
    assert found[0].text == "please be so kind"
    assert "It breaks the rule short: max words 2. Say please." in seen[1].questions[0].text


def test_a_question_that_was_not_asked_is_not_asked_again() -> None:
    too_long = [Prediction("q", "", failure="too long for the window")]
    one = replace(request(Text(), GREEDY), questions=(Question("q", "?"),))
    found, seen = recorded(CheckAndRepair(2), lambda *_: too_long, one)
    assert (found, len(seen)) == (too_long, 1)


def test_the_majority_is_kept_with_its_share() -> None:
    one = replace(request(Text(), GREEDY), questions=(Question("q", "?"),))
    found, seen = recorded(SelfConsistency(4), says({1: "Paris", 2: "Rome", 3: "the paris.", 4: "Oslo"}), one)
    assert found[0].text == "Paris"
    assert found[0].probabilities == {"Paris": 0.5, "Rome": 0.25, "Oslo": 0.25}
    assert (found[0].calls, found[0].prompt_tokens) == (4, 40)
    assert [each.decoding.mode for each in seen] == ["sampled"] * 4
    assert len({each.decoding.seed for each in seen}) == 4


def test_a_vote_on_labels_leaves_failures_out() -> None:
    one = replace(request(Choice(LABELS), GREEDY), questions=(Question("q", "?"),))
    texts = {1: "card", 2: "?", 3: "loan", 4: "loan"}

    def draws(inner: EvalRequest, turn: int) -> list[Prediction]:
        return [Prediction("q", texts[turn], failure="names no label" if texts[turn] == "?" else None, calls=1)]

    found, _ = recorded(SelfConsistency(4), draws, one)
    assert found[0].text == "loan"
    assert found[0].probabilities == {"card": pytest.approx(1 / 3), "loan": pytest.approx(2 / 3), "rent": 0, "tax": 0}


def test_fields_are_asked_for_one_by_one_and_put_together() -> None:
    one = replace(request(Json(SCHEMA), JSON), questions=(Question("q", "?"),))
    found, seen = recorded(Decompose(), says({1: '{"who": "Ann"}', 2: '{"when": "noon"}'}), one)
    assert json.loads(found[0].text) == {"who": "Ann", "when": "noon"}
    assert [each.task.answer.schema["required"] for each in seen] == [["who"], []]  # type: ignore[union-attr]
    assert [list(each.task.answer.schema["properties"]) for each in seen] == [["who"], ["when"]]  # type: ignore[union-attr]
    assert seen[1].task.instruction == "Which topic?\n\nGive only the field when."
    found, _ = recorded(Decompose(), says({1: '{"who": "Ann"}', 2: "no idea"}), one)
    assert (json.loads(found[0].text), found[0].failure) == ({"who": "Ann"}, None)


def test_the_first_step_is_the_outermost() -> None:
    method = workflow(vote=SelfConsistency(3, 0.0), check=CheckAndRepair(1, Flawed(5)))
    found = answered(method, request(Text(), GREEDY))
    assert [each.calls for each in found] == [6] * len(TEXTS)


def test_it_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    asked = request(Choice(LABELS), CHOOSE)
    method = workflow(short=Shortlist(2, Linear()))
    before = answered(method, asked)
    method.save(tmp_path)
    back = workflow(short=Shortlist(2, Linear()))
    back.load(tmp_path, Resources())
    assert [replace(each, seconds=0.0) for each in back.predict(asked, Resources())] == before


@pytest.mark.parametrize(
    ("step", "answer", "decoding", "what"),
    [
        (Shortlist(2, Linear()), Text(), GREEDY, "needs labels that all questions share: a text task"),
        (Shortlist(2, Linear()), Choice(), CHOOSE, "every question has its own choices"),
        (SelfConsistency(), Choice(LABELS), CHOOSE, "decoding.mode=choose does not sample"),
        (Decompose(), Text(), GREEDY, "a text task has no fields"),
        (Decompose(), Json({"type": "array"}), JSON, "not that of an object with properties"),
    ],
)
def test_a_step_refuses_what_it_does_not_fit(step: Step, answer: Answer, decoding: Decoding, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as failed:
        workflow(own=step).check(Task("", answer), decoding)
    assert failed.value.faults[0].key == "workflow.own"


def test_demonstrations_of_whole_answers_and_single_fields_do_not_go_together() -> None:
    method = Workflow(ToyCheckpoint(), PlainPrompt(), Demonstrations(2, "fixed"), Frozen(), {"parts": Decompose()})
    with pytest.raises(ConfigError, match="demonstrations show whole answers"):
        method.check(Task("", Json(SCHEMA)), JSON)


def test_an_instruction_that_replaces_the_task_s_leaves_no_room_for_the_field() -> None:
    with pytest.raises(ConfigError, match="to which this step adds the field"):
        workflow(PlainPrompt(instruction="Do it."), parts=Decompose()).check(Task("", Json(SCHEMA)), JSON)
    workflow(PlainPrompt(instruction="Do it: {instruction}"), parts=Decompose()).check(Task("", Json(SCHEMA)), JSON)


@pytest.mark.parametrize(
    ("made", "key"),
    [
        (lambda: Shortlist(0, Linear()), "k"),
        (lambda: CheckAndRepair(0), "attempts"),
        (lambda: CheckAndRepair(template="{question} {answer}"), "template"),
        (lambda: SelfConsistency(0), "samples"),
        (lambda: SelfConsistency(2, -1.0), "temperature"),
        (lambda: Decompose("all"), "instruction"),
        (lambda: HouseRules({}), "rules"),
        (lambda: HouseRules({"short": {"words": 3}}), "rules.short"),
        (lambda: workflow(), "workflow"),
    ],
)
def test_arguments_out_of_range_are_named(made: Callable[[], object], key: str) -> None:
    with pytest.raises(ConfigError) as failed:
        made()
    assert failed.value.faults[0].key == key


@pytest.mark.parametrize(
    ("text", "answer", "what"),
    [
        ("[1", Json(SCHEMA), "Answer with JSON and nothing else"),
        ('{"who": 3}', Json(SCHEMA), "does not meet the schema at $.who"),
        ("", Text(), "The answer is empty."),
    ],
)
def test_the_form_of_an_answer(text: str, answer: Answer, what: str) -> None:
    assert what in TaskForm().faults(Prediction("q", text), Question("q", "?"), Task("", answer))[0]
    label = TaskForm().faults(Prediction("q", "x", failure="none"), Question("q", "?"), Task("", Choice(LABELS)))
    assert label == ["Answer with exactly one of these labels: card, loan, rent, tax."]
