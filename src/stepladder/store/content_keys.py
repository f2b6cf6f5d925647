"""The content of tasks, questions and decodings that keys are made from: what reaches an answer or its score."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from stepladder.types import Decoding, EvalRequest, Example, Passage, Plain, PromptOverride, Question, Task


def task_content(task: Task) -> Plain:
    return {"instruction": task.instruction, "kind": task.kind, **asdict(task.answer)}


def question_content(question: Question) -> list[Any]:
    """What of a question reaches a method's answer: not its group, not its tags."""
    turns = [[m.role, m.content] for m in question.history]
    return [question.id, question.text, turns, question.system, question.choices]


def example_content(example: Example) -> list[Any]:
    return [*question_content(example.question), example.answers]


def passage_content(passage: Passage) -> list[str]:
    return [passage.id, passage.text]


def decoding_content(decoding: Decoding) -> Plain:
    """Only what the mode reads: a limit of new tokens changes no choice of a label."""
    used = {
        "choose": ("mode", "normalise", "probabilities"),
        "greedy": ("mode", "max_new_tokens", "strip_thinking"),
        "json": ("mode", "max_new_tokens"),
        "sampled": ("mode", "max_new_tokens", "temperature", "seed", "strip_thinking"),
    }[decoding.mode]
    return {name: getattr(decoding, name) for name in used}


def gold_content(example: Example) -> list[Any]:
    """Which passages hold the answer."""
    return [example.question.id, example.gold]


def judged_content(example: Example) -> Plain:
    """What of an example its answer is judged by."""
    question = example.question
    judged = {"id": question.id, "answers": example.answers, "gold": example.gold}
    return {**judged, "group": question.group, "tags": question.tags}


def _override_content(override: PromptOverride) -> Plain:
    shown = override.passages
    return {
        "format": override.format and asdict(override.format),
        "passages": None if shown is None else {id_: [passage_content(p) for p in shown[id_]] for id_ in shown},
    }


def request_content(request: EvalRequest) -> Plain:
    """All that an answer depends on beside the fit; its name is no part of it."""
    return {
        "task": task_content(request.task),
        "questions": [question_content(question) for question in request.questions],
        "decoding": decoding_content(request.decoding),
        "reading": request.override and _override_content(request.override),
        "tuned": request.tuned,
    }
