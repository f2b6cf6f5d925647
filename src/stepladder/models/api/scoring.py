"""Exact log-probabilities of labels through a server, in two ways.

`PromptScorer` (vLLM and others) sends the token ids of prompt and label and reads the log-probabilities of the prompt
back (`echo`). `TrieWalk` (llama.cpp server) asks for the next token's log-probabilities after every common prefix of
the labels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from stepladder.engine.values import Best, Scores
from stepladder.errors import ModelError
from stepladder.models.api.values import Call, Reply
from stepladder.types import Message, Plain

Ask = Callable[[Call], Reply]
MARK = "fjord gymnast"  # a text that no template contains
LISTED = 2000
"""So many of the next tokens are listed at first; the whole vocabulary where a label's token is not among them."""


class Tokens(Protocol):
    """The server's tokenizer and chat template."""

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to the position where the answer begins."""
        ...

    def text(self, text: str) -> list[int]:
        """Token ids of a text; one that spells a special token stays text."""
        ...

    @property
    def end(self) -> int:
        """The token after an assistant's turn."""
        ...


def plain_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as the API takes them."""
    return [{"role": message.role, "content": message.content} for message in messages]


@dataclass
class LlamaCppTokens:
    """`/apply-template` and `/tokenize` of the llama.cpp server."""

    ask: Ask

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        return self._tokens(self._rendered(messages), special=True)

    def text(self, text: str) -> list[int]:
        return self._tokens(text, special=False)

    @cached_property
    def end(self) -> int:
        turns = [Message("user", "?"), Message("assistant", MARK), Message("user", "?")]
        rest = self._rendered(turns).rpartition(MARK)[2]
        body = {"content": rest, "add_special": False, "parse_special": True}
        found = _ids(self.ask(Call("//tokenize", body)).body, "tokens")
        if not found or found[0] == self.text(rest)[0]:
            raise ModelError("The chat template of the server has no end token after an answer", "model")
        return found[0]

    def _rendered(self, messages: Sequence[Message]) -> str:
        rendered = self.ask(Call("//apply-template", {"messages": plain_messages(messages)})).body.get("prompt")
        if not isinstance(rendered, str):
            raise ModelError("The server does not render conversations (/apply-template)", "model.base_url")
        return rendered

    def _tokens(self, text: str, special: bool) -> list[int]:
        body = {"content": text, "add_special": special, "parse_special": special}
        return _ids(self.ask(Call("//tokenize", body)).body, "tokens")


@dataclass
class VllmTokens:
    """`/tokenize` of vLLM, which takes conversations and texts."""

    ask: Ask
    name: str

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        body = {"model": self.name, "messages": plain_messages(messages), "add_generation_prompt": True}
        return _ids(self.ask(Call("//tokenize", body)).body, "tokens")

    def text(self, text: str) -> list[int]:
        body = {"model": self.name, "prompt": text, "add_special_tokens": False}
        return _ids(self.ask(Call("//tokenize", body)).body, "tokens")

    @cached_property
    def end(self) -> int:
        question, answer = Message("user", "?"), Message("assistant", MARK)
        body = {"model": self.name, "messages": plain_messages([question, answer]), "add_generation_prompt": False}
        whole = _ids(self.ask(Call("//tokenize", body)).body, "tokens")
        before = [*self.prompt([question]), *self.text(MARK)]
        if whole[: len(before)] != before or len(whole) == len(before):
            raise ModelError("The chat template of the server does not put an answer after its prompt", "model")
        return whole[len(before)]


def _ids(body: Plain, name: str) -> list[int]:
    found = body.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(id_, int) for id_ in found):
        raise ModelError("the server does not give the token ids of a text (/tokenize)", "model.base_url")
    return found


@dataclass(frozen=True)
class Cost:
    """Tokens and seconds of the requests for one question."""

    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, reply: Reply) -> Cost:
        return Cost(
            self.prompt_tokens + reply.prompt_tokens,
            self.new_tokens + reply.new_tokens,
            self.seconds + reply.seconds,
        )


class Scorer(Protocol):
    """Scores the labels of one question."""

    tokens: Tokens

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores: ...

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best: ...


@dataclass
class _Encoded:
    """Labels as token ids with the end token, remembered."""

    tokens: Tokens
    _known: dict[str, list[int]] = field(default_factory=dict)

    def __call__(self, label: str) -> list[int]:
        if label not in self._known:
            self._known[label] = [*self.tokens.text(label), self.tokens.end]
        return self._known[label]


@dataclass
class PromptScorer:
    """One request a label: `/completions` with `echo`, the prompt and the label as token ids."""

    ask: Ask
    tokens: Tokens
    name: str

    def __post_init__(self) -> None:
        self._encoded = _Encoded(self.tokens)

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int], repeat: int = 0) -> Reply:
        """Of every token of `answer` after `prompt`, then of the token that the server adds to them."""
        ids = [*prompt, *answer]
        body = {"model": self.name, "prompt": ids, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        call = Call("/completions", body, "prompt_logprobs", tuple(answer), len(ids), 1, repeat)
        return self.ask(call)

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores:
        answers = [self._encoded(label) for label in labels]
        cost, found = Cost(), []
        for answer in answers:
            reply = self.log_probabilities(prompt, answer, repeat)
            cost += reply
            found.append(sum(_known(value) for value in reply.log_probabilities[: len(answer)]))
        lengths = tuple(map(len, answers))
        return Scores(tuple(found), lengths, cost.seconds, cost.prompt_tokens, cost.new_tokens)

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best:
        return self.score(prompt, labels, repeat).best()


@dataclass
class TrieWalk:
    """Next-token log-probabilities after every common prefix of the labels: `/completion` of the llama.cpp server."""

    ask: Ask
    tokens: Tokens
    vocabulary: int

    def __post_init__(self) -> None:
        self._encoded = _Encoded(self.tokens)

    def next_token(self, ids: Sequence[int], wanted: Sequence[int], listed: int, repeat: int = 0) -> Reply:
        """The log-probabilities of the wanted tokens after `ids`, as far as they are among the `listed` likeliest."""
        body = {"prompt": list(ids), "n_predict": 1, "n_probs": listed, "temperature": 0, "cache_prompt": True}
        return self.ask(Call("//completion", body, "next_logprobs", tuple(wanted), len(ids), 1, repeat))

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores:
        """Every label: one request a node of the trie, two where tokens are improbable."""
        answers = [tuple(self._encoded(label)) for label in labels]
        found: dict[tuple[int, ...], float] = {(): 0.0}
        cost = Cost()
        for prefix, wanted in _trie(answers).items():
            reply = self.next_token([*prompt, *prefix], wanted, min(LISTED, self.vocabulary), repeat)
            cost += reply
            if None in reply.log_probabilities:
                reply = self.next_token([*prompt, *prefix], wanted, self.vocabulary, repeat)
                cost += reply
            for token, value in zip(wanted, reply.log_probabilities, strict=True):
                found[*prefix, token] = found[prefix] + _known(value)
        scores, lengths = tuple(found[answer] for answer in answers), tuple(map(len, answers))
        return Scores(scores, lengths, cost.seconds, cost.prompt_tokens, cost.new_tokens)

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best:
        """The likeliest label: a best-first search. A prefix is at most as likely as what it begins with, so that the
        first whole label that comes up is the likeliest. An unlisted token has the smallest listed log-probability as
        its upper bound until it comes up."""
        answers = [tuple(self._encoded(label)) for label in labels]
        trie, cost = _trie(answers), Cost()
        places = {answer: place for place, answer in reversed(list(enumerate(answers)))}
        total: dict[tuple[int, ...], float] = {(): 0.0}
        whole: dict[tuple[int, ...], Mapping[int, float]] = {}
        queue: list[tuple[float, tuple[int, ...], bool]] = [(0.0, (), True)]
        while True:
            _, prefix, exact = heapq.heappop(queue)
            if not exact:
                before, token = prefix[:-1], prefix[-1]
                if before not in whole:
                    reply = self.next_token([*prompt, *before], trie[before], self.vocabulary, repeat)
                    cost += reply
                    whole[before] = dict(zip(trie[before], map(_known, reply.log_probabilities), strict=True))
                total[prefix] = total[before] + whole[before][token]
                heapq.heappush(queue, (-total[prefix], prefix, True))
            elif prefix in places:
                tokens = cost.prompt_tokens, cost.new_tokens
                return Best(places[prefix], total[prefix], len(prefix), cost.seconds, *tokens)
            else:
                reply = self.next_token([*prompt, *prefix], trie[prefix], min(LISTED, self.vocabulary), repeat)
                cost += reply
                for token, value in zip(trie[prefix], reply.log_probabilities, strict=True):
                    longer = (*prefix, token)
                    total[longer] = total[prefix] + (reply.floor if value is None else value)
                    heapq.heappush(queue, (-total[longer], longer, value is not None))


def _trie(answers: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """The tokens that follow each proper prefix of the answers, shorter prefixes first."""
    found: dict[tuple[int, ...], dict[int, None]] = {}
    for answer in answers:
        for length in range(len(answer)):
            found.setdefault(answer[:length], {})[answer[length]] = None
    return {prefix: tuple(found[prefix]) for prefix in sorted(found, key=len)}


def _known(value: float | None) -> float:
    if value is None:
        what = "The server does not give the log-probability of a label's token"
        raise ModelError(what, "model.choose", "say model.choose=constrained or model.choose=text")
    return value
