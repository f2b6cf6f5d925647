"""Prompts: convert a task, a question and what is shown with it into chat messages."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, runtime_checkable

from stepladder.errors import ConfigError, Fault
from stepladder.types import Choice, Format, Json, Message, Plain, Question, Shown, Task

OnOverflow = Literal["stop", "drop_context", "skip"]


@runtime_checkable
class Prompt(Protocol):
    """Writes prompts.

    `on_overflow` sets what happens if a prompt does not fit the context window: `stop` raises an error with the number
    of such prompts, `drop_context` shows fewer demonstrations or passages, `skip` counts the question as failed.
    """

    @property
    def on_overflow(self) -> OnOverflow: ...

    @property
    def reads(self) -> frozenset[str]:
        """The parts of the data that the wording depends on: labels, train, validation, corpus, seed."""
        ...

    def messages(self, task: Task, question: Question, shown: Shown) -> tuple[Message, ...]:
        """The messages before the model's answer."""
        ...


@dataclass(frozen=True)
class PlainPrompt:
    """The instruction as system message, the demonstrations as earlier turns, then the question.

    Demonstrations have the same form as the question. Passages come before the question in the same message. Labels are
    not listed.

    Args:
        on_overflow: See `Prompt`.
        question_template: Contains {question}.
        context_template: Contains {passages}, which are separated by an empty line.
        instruction: Replaces the task's instruction; {instruction} in it stands for the task's own. None: the task's.
    """

    on_overflow: OnOverflow = "stop"
    question_template: str = "{question}"
    context_template: str = "Context:\n{passages}\n\n"
    instruction: str | None = None
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        faults = []
        if self.on_overflow not in ("stop", "drop_context", "skip"):
            faults.append(Fault("on_overflow", f"'{self.on_overflow}' is unknown", "use stop, drop_context or skip"))
        for key, place in (("question_template", "{question}"), ("context_template", "{passages}")):
            if getattr(self, key).count(place) != 1:
                faults.append(
                    Fault(key, f"'{getattr(self, key)}' must contain {place} exactly once", f"write {place} once")
                )
        if faults:
            raise ConfigError(faults)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset()

    def messages(self, task: Task, question: Question, shown: Shown) -> tuple[Message, ...]:
        return tuple(self._turns(task, question, shown))

    def _turns(self, task: Task, question: Question, shown: Shown) -> Iterator[Message]:
        system = "\n\n".join(text for text in (question.system, self.system_text(task)) if text)
        if system:
            yield Message("system", system)
        for example in shown.demonstrations:
            yield from example.question.history
            yield Message("user", self.question_text(task, example.question))
            yield Message("assistant", example.answers[0])
        yield from question.history
        passages = "\n\n".join(passage.text for passage in shown.passages)
        context = self.context_template.replace("{passages}", passages) if passages else ""
        yield Message("user", context + self.question_text(task, question))

    def system_text(self, task: Task) -> str:
        """The system text."""
        return self.instruction_text(task)

    def instruction_text(self, task: Task) -> str:
        """The instruction. A wording around the task's instruction is empty if the task has none."""
        return instruction_in(self.instruction, task.instruction)

    def question_text(self, task: Task, question: Question) -> str:
        """The question as a message, without passages."""
        return self.question_template.replace("{question}", question.text)


@dataclass(frozen=True)
class StructuredPrompt(PlainPrompt):
    """The plain prompt with a list of the labels (and their definitions) and a description of the output format.

    `output_format` replaces this description. A question's own choices are listed in its message.
    """

    output_format: str | None = None

    @property
    def reads(self) -> frozenset[str]:
        return frozenset({"labels"})

    def system_text(self, task: Task) -> str:
        parts = [self.instruction_text(task), *_listed(task), self.output_format or _form(task)]
        return "\n\n".join(part for part in parts if part)

    def question_text(self, task: Task, question: Question) -> str:
        text = super().question_text(task, question)
        return (
            "\n".join([text, "Choices:", *(f"- {choice}" for choice in question.choices)]) if question.choices else text
        )


@dataclass(frozen=True)
class Reformatted:
    """A prompt whose instruction and questions (also in demonstrations) are put into another format."""

    prompt: Prompt
    format: Format

    @property
    def on_overflow(self) -> OnOverflow:
        return self.prompt.on_overflow

    @property
    def reads(self) -> frozenset[str]:
        return self.prompt.reads

    def messages(self, task: Task, question: Question, shown: Shown) -> tuple[Message, ...]:
        prompt, own = self.prompt, task.instruction
        if isinstance(prompt, PlainPrompt):  # the format is put around the instruction that the prompt shows
            prompt, own = replace(prompt, instruction=None), prompt.instruction_text(task)
        instruction = instruction_in(self.format.instruction, own) if own else ""
        demonstrations = tuple(replace(e, question=self._put(e.question)) for e in shown.demonstrations)
        shown = replace(shown, demonstrations=demonstrations)
        return prompt.messages(replace(task, instruction=instruction), self._put(question), shown)

    def _put(self, question: Question) -> Question:
        return replace(question, text=self.format.question.replace("{question}", question.text))


def instruction_in(wording: str | None, own: str) -> str:
    """A wording of an instruction: {instruction} in `wording` stands for the task's `own`, None for all of it."""
    if wording is None or (not own and "{instruction}" in wording):
        return own
    return wording.replace("{instruction}", own)


def _listed(task: Task) -> Iterator[str]:
    answer = task.answer
    if isinstance(answer, Choice) and answer.labels:
        meaning = answer.definitions
        yield "\n".join(
            ["Labels:", *(f"- {name}: {meaning[name]}" if meaning.get(name) else f"- {name}" for name in answer.labels)]
        )
    if isinstance(answer, Json):
        fields = list(_fields(answer.schema))
        yield "\n".join(["Fields:", *fields]) if fields else "Schema: " + json.dumps(answer.schema, ensure_ascii=False)


def _form(task: Task) -> str:
    answer = task.answer
    if isinstance(answer, Choice):
        kind = "labels above" if answer.labels else "choices"
        return f"Answer with exactly one of the {kind}, written exactly as it is there, and with nothing else."
    if isinstance(answer, Json):
        return (
            "Answer with one JSON value and nothing else: no explanation, no code fence. Leave an optional field out "
            "where the text does not say it."
        )
    return "Answer the question itself, directly and in plain text. Do not repeat the question."


def _fields(schema: Plain, path: str = "") -> Iterator[str]:
    """A line for each field of an object, including nested objects: `- path (type, required): description`."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        field = field if isinstance(field, Mapping) else {}  # true and false are schemas too
        kind = field.get("type", "any")
        facts = [kind if isinstance(kind, str) else " or ".join(kind), "required" if name in required else "optional"]
        if "enum" in field:
            facts.append("one of " + ", ".join(json.dumps(value, ensure_ascii=False) for value in field["enum"]))
        meaning = f": {field['description']}" if field.get("description") else ""
        yield f"- {path}{name} ({', '.join(facts)}){meaning}"
        yield from _fields(field, f"{path}{name}.")
