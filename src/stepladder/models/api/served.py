"""A model behind an OpenAI-compatible API. `ConversationModel` describes the methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar

from stepladder.engine.values import Best, Scores
from stepladder.errors import ModelError, UserError
from stepladder.models.api.connection import Connection
from stepladder.models.api.probe import exact_scorer, label_schema, probe_chat, probe_schema, written_label
from stepladder.models.api.scoring import Scorer, plain_messages
from stepladder.models.api.values import Call, Reply, Settings
from stepladder.models.conversation import Conversation, ServerFacts
from stepladder.models.language_model import Completion, Thoughts
from stepladder.types import Plain

T = TypeVar("T")
Labels = Literal["auto", "prompt_logprobs", "walk", "constrained", "text"]
TEMPLATE = 64
"""At least so many prompt tokens are allowed for a chat template."""
END_MARKS = ("<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<|end|>", "<end_of_turn>", "</s>")


@dataclass
class _Findings:
    """What was noticed of the answers since the facts were last read."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)


class ServedModel:
    """Sends conversations to a server.

    Args:
        settings: How requests are sent.
        name: The model's name on the server.
        choose: How labels are chosen.
        retest: So many conversations are asked a second time.
        extra: Further fields of every chat request; None removes one.
        note: Shows a line to the user.
    """

    engine_name = "api"
    noise = 0.0
    thoughts = Thoughts()

    def __init__(
        self, settings: Settings, name: str, choose: Labels, retest: int, extra: Plain, note: Callable[[str], None]
    ) -> None:
        self._settings, self._name, self._choose, self._retest = settings, name, choose, retest
        self._extra, self._note = extra, note
        self._probed: set[str] = set()
        self._scorer: Scorer | None = None
        self._connection: Connection | None = None
        self._served: str | None = None
        self._fingerprints: dict[str, None] = {}
        self._template = 512
        self._found = _Findings()

    @property
    def labels(self) -> Literal["scored", "written"]:
        return "written" if self._choose in ("constrained", "text") else "scored"

    def score(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Scores]]:
        def work(index: int, repeat: int) -> Scores:
            return self._exact.score(self._exact.tokens.prompt(prompts[index]), candidates[index], repeat)

        return self._each("labels", len(prompts), work, lambda scores: scores.best().place)

    def choose(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], micro_batch: int | None = None
    ) -> Iterator[tuple[int, Best]]:
        def work(index: int, repeat: int) -> Best:
            return self._exact.choose(self._exact.tokens.prompt(prompts[index]), candidates[index], repeat)

        return self._each("labels", len(prompts), work, lambda best: best.place)

    def write_label(
        self, prompts: Sequence[Conversation], candidates: Sequence[Sequence[str]], max_new_tokens: int
    ) -> Iterator[tuple[int, Completion]]:
        constrained = self._choose == "constrained"

        def work(index: int, repeat: int) -> Completion:
            schema = label_schema(candidates[index]) if constrained else None
            written = self._written(self._payload(prompts[index], max_new_tokens, schema), repeat)
            if not constrained:
                return written
            label = written_label(written.text)
            return written if label is None else replace(written, text=label)

        return self._each("constrained" if constrained else "chat", len(prompts), work, lambda done: done.text)

    def generate(
        self,
        prompts: Sequence[Conversation],
        max_new_tokens: int,
        temperature: float | None = None,
        seed: int = 0,
        schema: Plain | None = None,
        micro_batch: int | None = None,
    ) -> Iterator[tuple[int, Completion]]:
        def work(index: int, repeat: int) -> Completion:
            payload = self._payload(prompts[index], max_new_tokens, schema)
            if temperature is not None:
                sampling = {"temperature": temperature, "top_p": 1.0, "seed": (seed * 1_000_003 + index) % 2**31}
                payload = {**payload, **sampling, **self._extra_fields}
            return self._written(payload, repeat)

        return self._each("chat" if schema is None else "json", len(prompts), work, lambda done: done.text)

    def facts(self) -> ServerFacts:
        found, self._found = self._found, _Findings()
        server = {
            "base_url": self._settings.base_url,
            "name": self._name,
            "model": PurePosixPath(self._served or "").name,
            "fingerprints": list(self._fingerprints),
            "weights": "not pinned",
            **({"labels": type(self._scorer).__name__} if self._scorer else {}),
        }
        return ServerFacts(server, found.figures, tuple(found.notes))

    @property
    def _exact(self) -> Scorer:
        assert self._scorer is not None
        return self._scorer

    @property
    def _extra_fields(self) -> Plain:
        return {name: value for name, value in self._extra.items() if value is not None}

    def _payload(self, messages: Conversation, max_new_tokens: int, schema: Plain | None = None) -> dict[str, Any]:
        payload: dict[str, Any] = {"model": self._name, "messages": plain_messages(messages)}
        payload |= {"max_tokens": max_new_tokens, "temperature": 0}
        if schema is not None:
            named = {"name": "answer", "schema": dict(schema), "strict": True}
            payload["response_format"] = {"type": "json_schema", "json_schema": named}
        removed = {name for name, value in self._extra.items() if value is None}
        return {name: value for name, value in payload.items() if name not in removed} | dict(self._extra_fields)

    def _written(self, payload: Plain, repeat: int) -> Completion:
        """Raises ModelError where the server cannot be asked."""
        asked = sum(len(str(message["content"]).encode()) + 16 for message in payload["messages"])
        schema = len(json.dumps(payload.get("response_format", "")).encode())
        most = max((v for k, v in payload.items() if k in ("max_tokens", "max_completion_tokens")), default=0)
        call = Call("/chat/completions", payload, "chat", (), asked + schema + self._template, most, repeat)
        reply = self._ask(call)
        if any(mark in reply.text for mark in END_MARKS):
            self._count("answers_with_end_token")
        return Completion(reply.text, reply.new_tokens, reply.seconds, reply.finished, reply.prompt_tokens)

    def _ask(self, call: Call) -> Reply:
        assert self._connection is not None
        reply = self._connection.ask(call)
        if reply.model:
            self._identify(reply)
        return reply

    def _identify(self, reply: Reply) -> None:
        """Raises ModelError where another model answers than the one that was asked for, or than before."""
        if self._served is None and is_named(reply.model, self._name):
            self._served = reply.model
        if reply.model != self._served:
            before = f", and before that '{self._served}'" if self._served else ""
            what = f"The server answers as model '{reply.model}'{before}; '{self._name}' was asked for"
            raise ModelError(what, "model.name", "give the name that the server lists (/v1/models), or another server")
        if reply.fingerprint is not None and reply.fingerprint not in self._fingerprints:
            if self._fingerprints:
                known = ", ".join((*self._fingerprints, reply.fingerprint))
                self._found.notes[f"the server's fingerprint changed while it was asked: {known}"] = None
            self._fingerprints[reply.fingerprint] = None

    def _count(self, figure: str) -> None:
        self._found.figures[figure] = self._found.figures.get(figure, 0) + 1

    def _each(
        self, need: str, count: int, work: Callable[[int, int], T], answer_of: Callable[[T], object]
    ) -> Iterator[tuple[int, T]]:
        """The results of `work(index, repeat)`, as they come; then some again to see whether they are the same."""
        if not count:
            return
        answers: dict[int, object] = {}
        try:
            # The connection is closed first: calls that wait then end, and so do the threads.
            with (
                ThreadPoolExecutor(self._settings.concurrency) as pool,
                Connection(self._settings, self._note) as self._connection,
            ):
                self._check(need)
                for index, result in _unordered(pool, work, range(count), 0):
                    answers[index] = answer_of(result)
                    yield index, result
                if self._retest:
                    self._test_again(pool, work, answers, answer_of)
        except UserError as error:
            done = f". {len(answers):,} of {count:,} questions are answered and stored" if answers else ""
            to_do = f"{error.to_do}; the same command then asks only what has no answer yet" if answers else error.to_do
            raise ModelError(f"{error.what}{done}", error.where, to_do) from error

    def _test_again(
        self,
        pool: ThreadPoolExecutor,
        work: Callable[[int, int], T],
        answers: Mapping[int, object],
        answer_of: Callable[[T], object],
    ) -> None:
        count = min(self._retest, len(answers))
        some = [place * len(answers) // count for place in range(count)]
        changed = sum(answer_of(result) != answers[index] for index, result in _unordered(pool, work, some, 1))
        self._found.figures |= {"retest_questions": count, "retest_changed": changed / count}

    def _check(self, need: str) -> None:
        """Test what the decoding needs, once. Raises ModelError where it is missing or in doubt."""
        if need in self._probed:
            return
        if "chat" not in self._probed:
            self._template = max(TEMPLATE, probe_chat(self._ask, self._payload).prompt_tokens)
            self._probed.add("chat")
        if need in ("json", "constrained") and not probe_schema(self._ask, self._payload):
            if need == "constrained":
                what = "The server does not hold its answers to a JSON schema (response_format)"
                raise ModelError(what, "model.choose", "say model.choose=text, or use a server that does")
            self._found.notes["the server does not hold its answers to a JSON schema: they may be invalid"] = None
        if need == "labels":
            ways = ("prompt_logprobs", "walk")
            chosen = [way for way in ways if self._choose in ("auto", way)]
            self._scorer = exact_scorer(self._ask, self._name, chosen, self._payload)  # type: ignore[arg-type]
        self._probed.add(need)


def is_named(served: str, name: str) -> bool:
    """Whether a server's name for its model is the one that was asked for: the same, with a date or version after it,
    or with a folder before and a file type after it."""
    file = served.rsplit("/", 1)[-1]
    files = file, file.removesuffix(".gguf")
    return served == name or served.startswith((f"{name}-", f"{name}@")) or name.rsplit("/", 1)[-1] in files


def _unordered(
    pool: ThreadPoolExecutor, work: Callable[[int, int], T], places: Sequence[int], repeat: int
) -> Iterator[tuple[int, T]]:
    running = {pool.submit(work, place, repeat): place for place in places}
    try:
        for done in as_completed(running):
            yield running[done], done.result()
    finally:
        for future in running:
            future.cancel()
