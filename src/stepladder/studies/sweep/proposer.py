"""The proposer of a sweep: a model writes instructions for the task from training rows.

Proposals are stored by the content that they depend on, so that the same sweep, its workers and its resumption have the
same candidates. No validation row and no test row is shown to the proposer.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stepladder.context.context import NoContext
from stepladder.context.prompt import PlainPrompt, instruction_in
from stepladder.errors import ConfigError, Fault, UserError
from stepladder.io import serialise
from stepladder.methods.adapted_model import AdaptedModel
from stepladder.models.conversation import ModelService
from stepladder.models.language_model import Checkpoint
from stepladder.resources import Devices, Resources
from stepladder.store.content_keys import example_content, task_content
from stepladder.store.identity import digest
from stepladder.studies.sweep.results import Proposed
from stepladder.tuning.tuning import Frozen
from stepladder.types import Decoding, EvalRequest, Example, Question, Task, Text

ROUNDS = 3
"""The proposer is asked at most so many times, while it has proposed too few different instructions."""

SHOWN_ROWS = 4
SHOWN_CHARACTERS = 300
MOST_CHARACTERS = 600
DECODING = Decoding("sampled", max_new_tokens=96, temperature=1.0)
REQUEST = (
    "A language model answers inputs by an instruction.\n\nThe instruction now: {instruction}\n\n{examples}\n\n"
    "Write another instruction for the same task that leads to more correct answers, in one to three sentences. Write "
    "the instruction and nothing else."
)


def propose(
    model: Checkpoint | ModelService,
    task: Task,
    train: Sequence[Example],
    known: Sequence[str],
    count: int,
    seed: int,
    outputs: Path | None,
    accelerator: str = "auto",
    begin: bool = True,
) -> Proposed:
    """Ask a model for instructions, or read what it proposed before.

    Args:
        model: The proposer.
        task: Its instruction and kind.
        train: Training rows; each request shows some of them.
        known: Candidates that are not proposed again; {instruction} stands for the task's own.
        count: How many instructions are wanted; fewer are given if the model repeats itself.
        seed: Of the sampled answers and of the rows shown.
        outputs: The output directory, where proposals are stored. None stores nothing.
        accelerator: The kind of device.
        begin: Whether to ask the model if nothing is stored.

    Raises:
        ConfigError: The model proposed nothing new.
        UserError: Nothing is stored, and `begin` is false.
    """
    depends = {
        "version": 1, "model": model.fingerprint(), "task": task_content(task), "known": list(known), "count": count,
        "train": [example_content(example) for example in train], "seed": seed,
    }  # fmt: skip
    shared = None if outputs is None else outputs.absolute() / "indexes"
    file = None if shared is None else shared / "proposals" / f"{digest(depends)}.json"
    stored = None if file is None else serialise.read(Proposed, file)
    if stored is not None:
        return stored
    if not begin:
        what = "The proposer has not been asked yet, so there is no such study"
        raise UserError(what, str(outputs), "run the same command without --status")
    began = time.perf_counter()
    method = AdaptedModel(model, PlainPrompt(), NoContext(), Frozen())
    resources = Resources(shared=shared, devices=Devices(accelerator=accelerator))
    old = {_normal(instruction_in(text, task.instruction)) for text in ("{instruction}", *known)}
    found: list[str] = []
    prompt_tokens = new_tokens = 0
    for attempt in range(ROUNDS):
        texts = [_request(task, train, seed, attempt * count + at) for at in range(count)]
        questions = tuple(Question(f"proposal-{attempt * count + at}", text) for at, text in enumerate(texts))
        decoding = replace(DECODING, seed=seed * ROUNDS + attempt)
        for answer in method.predict(EvalRequest("proposals", Task("", Text()), questions, decoding), resources):
            prompt_tokens, new_tokens = prompt_tokens + answer.prompt_tokens, new_tokens + answer.new_tokens
            text = _cleaned(answer.text)
            if answer.failure is None and text and _normal(text) not in old and len(found) < count:
                old.add(_normal(text))
                found.append(text)
        if len(found) >= count:
            break
    if not found:
        what = f"the model proposed no new instruction in {ROUNDS * count} answers"
        raise ConfigError(Fault("sweep.proposer", what, "name a larger model, or give sweep.instructions.file"))
    proposed = Proposed(tuple(found), prompt_tokens, new_tokens, round(time.perf_counter() - began, 3))
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"The folder can not be made: {error.strerror}", str(file.parent), "name another"
            ) from error
        serialise.write(file, proposed)
    return proposed


def _request(task: Task, train: Sequence[Example], seed: int, number: int) -> str:
    """The request for one proposal; each shows training rows of its own."""
    rows = random.Random(f"{seed}-{number}").sample(list(train), min(SHOWN_ROWS, len(train)))
    shown = [
        f"Input: {row.question.text[:SHOWN_CHARACTERS]}\nAnswer: {row.answers[0][:SHOWN_CHARACTERS]}" for row in rows
    ]
    now = task.instruction or "(none)"
    return REQUEST.replace("{instruction}", now).replace("{examples}", "\n\n".join(shown))


def _cleaned(text: str) -> str:
    """An answer as an instruction: one line, without quotation marks around it; empty where it is of no use."""
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
    line = line.removeprefix("Instruction:").strip().strip("\"'`").strip()
    return "" if "${" in line or len(line) > MOST_CHARACTERS else line


def _normal(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")
