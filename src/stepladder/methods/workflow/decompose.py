"""The step `decompose`: a JSON answer is asked for field by field, and put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from stepladder.context.context import Context
from stepladder.context.demonstrations import Demonstrations
from stepladder.context.prompt import Prompt
from stepladder.errors import ConfigError, Fault, require
from stepladder.methods.workflow.step import Ask, Stateless, with_costs_of
from stepladder.resources import Resources
from stepladder.types import Decoding, EvalRequest, Json, Plain, Prediction, Task


@dataclass(frozen=True)
class Decompose(Stateless):
    """One request for each property of the schema, which must be that of an object.

    A field whose answer is not JSON, or lacks the field, is left out of the object. With one property, nothing is
    changed.

    Args:
        instruction: Follows the task's instruction; contains {field}.
    """

    instruction: str = "Give only the field {field}."
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.instruction.count("{field}") != 1:
            what = f"'{self.instruction}' must contain {{field}} exactly once"
            raise ConfigError(Fault("instruction", what, "write {field} once"))

    def check(self, task: Task, decoding: Decoding, prompt: Prompt, context: Context) -> None:
        if not isinstance(task.answer, Json):
            raise ConfigError(Fault("", f"a {task.kind} task has no fields to ask for", "leave this step out"))
        if not task.answer.schema.get("properties"):
            what = "the schema is not that of an object with properties"
            raise ConfigError(Fault("", what, "give dataset.task.schema properties, or leave this step out"))
        shown = "demonstrations show whole answers, and this step asks for one field at a time"
        wording = getattr(prompt, "instruction", None) or "{instruction}"
        replaced = f"prompt.instruction '{wording}' replaces the instruction, to which this step adds the field"
        require(
            (not isinstance(context, Demonstrations), Fault("", shown, "use a context without demonstrations")),
            ("{instruction}" in wording, Fault("", replaced, "write {instruction} in it, or leave this step out")),
        )

    def answer(self, request: EvalRequest, ask: Ask, resources: Resources) -> list[Prediction]:
        assert isinstance(request.task.answer, Json)
        schema = request.task.answer.schema
        fields = list(schema["properties"])
        if len(fields) == 1:
            return ask(request)
        by_field = [ask(replace(request, task=self._task_of(request.task, schema, name))) for name in fields]
        return [_assembled(dict(zip(fields, parts, strict=True))) for parts in zip(*by_field, strict=True)]

    def _task_of(self, task: Task, schema: Plain, name: str) -> Task:
        own = {
            **schema,
            "properties": {name: schema["properties"][name]},
            "required": [each for each in schema.get("required", ()) if each == name],
        }
        instruction = "\n\n".join(
            text for text in (task.instruction, self.instruction.replace("{field}", name)) if text
        )
        return Task(instruction, Json(own))


def _assembled(parts: Mapping[str, Prediction]) -> Prediction:
    found: dict[str, Any] = {}
    for name, part in parts.items():
        try:
            value = json.loads(part.text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and name in value:
            found[name] = value[name]
    own = list(parts.values())
    failures = [f"{name}: {part.failure}" for name, part in parts.items() if part.failure and name not in found]
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":"))
    failure = "; ".join(failures) if failures and not found else None
    return with_costs_of(replace(own[0], text=text, failure=failure), own)
