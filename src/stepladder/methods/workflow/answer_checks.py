"""What can be wrong with an answer before anybody knows the right one, in words that a model can act on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from stepladder.errors import Fault, require
from stepladder.evaluation.metrics.json_fields import validator_of
from stepladder.evaluation.suites.style import Rule, faults_of_rules
from stepladder.types import Choice, Json, Plain, Prediction, Question, Task

MOST_NAMED = 100
"""A fault names the allowed labels if there are at most so many."""


@runtime_checkable
class AnswerCheck(Protocol):
    """Finds the faults of an answer.

    An optional method `fixed`, with the same arguments, returns the text of the answer inside a faulty one, or None.
    """

    def faults(self, answer: Prediction, question: Question, task: Task) -> list[str]:
        """The faults as sentences for the model; empty if the answer is fine."""
        ...


@dataclass(frozen=True)
class TaskForm:
    """The form that the task asks for: one of the labels, JSON that meets the schema, a text that is not empty."""

    version: ClassVar[int] = 1

    def faults(self, answer: Prediction, question: Question, task: Task) -> list[str]:
        if isinstance(task.answer, Choice):
            if answer.failure is None:
                return []
            labels = question.choices or task.answer.labels
            named = f"one of these labels: {', '.join(labels)}" if len(labels) <= MOST_NAMED else "one of the labels"
            return [f"Answer with exactly {named}."]
        if isinstance(task.answer, Json):
            fault = _json_fault(answer.text, task.answer.schema)
            form = json.dumps(_form(task.answer.schema), ensure_ascii=False)
            to_do = f"Answer with JSON and nothing else, in this form: {form}"
            return [] if fault is None else [f"{fault} {to_do}".lstrip()]
        return [] if answer.text.strip() else ["The answer is empty."]

    def fixed(self, answer: Prediction, question: Question, task: Task) -> str | None:
        """The only label that a text names; the JSON object in a text, without what the schema does not allow.

        An object that was not finished ends after its last whole field.
        """
        if isinstance(task.answer, Choice):
            labels = question.choices or task.answer.labels
            named = [label for label in labels if re.search(rf"(?<!\w){re.escape(label)}(?!\w)", answer.text)]
            return named[0] if len(named) == 1 else None
        if not isinstance(task.answer, Json):
            return None
        found = _object_in(answer.text)
        if found is None:
            return None
        schema = task.answer.schema
        if schema.get("additionalProperties") is False:
            found = {name: value for name, value in found.items() if name in schema.get("properties", {})}
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def _json_fault(text: str, schema: Plain) -> str | None:
    """What the schema finds wrong; an empty text if the answer is not JSON; None if nothing is wrong."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    fault = validator_of(schema).fault(value)
    return f"{fault[0].upper()}{fault[1:]}." if fault else None


def _object_in(text: str) -> dict[str, Any] | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        found = json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        for comma in reversed([match.start() for match in re.finditer(",", text[start:])]):
            try:
                found = json.loads(text[start : start + comma] + "}")
                break
            except (ValueError, RecursionError):
                continue
        else:
            return None
    return found if isinstance(found, dict) else None


def _form(schema: Any) -> Any:
    """A value with the fields of a schema, to show what an answer looks like."""
    schema = schema if isinstance(schema, Mapping) else {}
    kind = schema.get("type", "object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if schema.get("enum"):
        return schema["enum"][0]
    if kind == "object":
        return {name: _form(own) for name, own in schema.get("properties", {}).items()}
    if kind == "array":
        return [_form(schema.get("items"))]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(str(kind), "...")


@dataclass(frozen=True)
class HouseRules:
    """Style rules by name, each with the arguments of `stepladder.evaluation.suites.style.Rule`.

    Args:
        rules: The rules. A key `say` of a rule is the sentence that names its violation to the model; without it, the
            rule's arguments are shown.
    """

    rules: Mapping[str, Mapping[str, Any]]
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        faults = faults_of_rules({name: _arguments(words) for name, words in self.rules.items()})
        require(
            (bool(self.rules), Fault("rules", "there are no rules", "name at least one")), *((False, f) for f in faults)
        )

    def faults(self, answer: Prediction, question: Question, task: Task) -> list[str]:
        return [
            str(words.get("say") or f"It breaks the rule {name}: {_described(words)}.")
            for name, words in self.rules.items()
            if not Rule(**_arguments(words)).keeps(answer.text)
        ]


def _arguments(words: Mapping[str, Any]) -> Plain:
    """The arguments of `Rule`."""
    return {key: value for key, value in words.items() if key != "say"}


def _described(words: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in _arguments(words).items() if value is not None
    )
