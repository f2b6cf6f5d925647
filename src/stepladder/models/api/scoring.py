"""Exact log-probabilities of labels through a server, in two ways.

`PromptScorer` (vLLM and others) sends the token ids of prompt and label and reads the log-probabilities of the prompt
back (`echo`). `TrieWalk` (llama.cpp server) asks for the next token's log-probabilities after every common prefix of
the labels.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
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
        found = _token_ids(self.ask, {"content": rest, "add_special": False, "parse_special": True})
        if found[0] == self.text(rest)[0]:
            raise ModelError("The chat template of the server has no end token after an answer", "model")
        return found[0]

    def _rendered(self, messages: Sequence[Message]) -> str:
        rendered = self.ask(Call("//apply-template", {"messages": plain_messages(messages)})).body.get("prompt")
        if not isinstance(rendered, str):
            raise ModelError("The server does not render conversations (/apply-template)", "model.base_url")
        return rendered

    def _tokens(self, text: str, special: bool) -> list[int]:
        return _token_ids(self.ask, {"content": text, "add_special": special, "parse_special": special})


@dataclass
class VllmTokens:
    """`/tokenize` of vLLM, which takes conversations and texts."""

    ask: Ask
    name: str

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        return self._tokens(messages=plain_messages(messages), add_generation_prompt=True)

    def text(self, text: str) -> list[int]:
        return self._tokens(prompt=text, add_special_tokens=False)

    @cached_property
    def end(self) -> int:
        question, answer = Message("user", "?"), Message("assistant", MARK)
        whole = self._tokens(messages=plain_messages([question, answer]), add_generation_prompt=False)
        before = [*self.prompt([question]), *self.text(MARK)]
        if whole[: len(before)] != before or len(whole) == len(before):
            raise ModelError("The chat template of the server does not put an answer after its prompt", "model")
        return whole[len(before)]

    def _tokens(self, **body: object) -> list[int]:
        return _token_ids(self.ask, {"model": self.name, **body})


def _token_ids(ask: Ask, body: Plain) -> list[int]:
    found = ask(Call("//tokenize", body)).body.get("tokens")
    if not isinstance(found, list) or not found or not all(isinstance(id_, int) for id_ in found):
        raise ModelError("the server does not give the token ids of a text (/tokenize)", "model.base_url")
    return found


def _scores(found: Sequence[float], answers: Sequence[Sequence[int]], replies: Sequence[Reply]) -> Scores:
    return Scores(tuple(found), tuple(map(len, answers)), *_cost(replies))


def _cost(replies: Sequence[Reply]) -> tuple[float, int, int]:
    """Seconds, prompt tokens and new tokens of all requests for one question."""
    seconds = sum((reply.seconds for reply in replies), 0.0)
    return seconds, sum(reply.prompt_tokens for reply in replies), sum(reply.new_tokens for reply in replies)


def _encoder(tokens: Tokens) -> Callable[[str], tuple[int, ...]]:
    """Gives labels as token ids with the end token, and asks once for each."""
    return cache(lambda label: (*tokens.text(label), tokens.end))


class Scorer(Protocol):
    """Scores the labels of one question."""

    tokens: Tokens

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores: ...

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best: ...


@dataclass
class PromptScorer:
    """One request a label: `/completions` with `echo`, the prompt and the label as token ids."""

    ask: Ask
    tokens: Tokens
    name: str

    def __post_init__(self) -> None:
        self._encoded = _encoder(self.tokens)

    def log_probabilities(self, prompt: Sequence[int], answer: Sequence[int], repeat: int = 0) -> Reply:
        """Of every token of `answer` after `prompt`, then of the token that the server adds to them."""
        ids = [*prompt, *answer]
        body = {"model": self.name, "prompt": ids, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}
        call = Call("/completions", body, "prompt_logprobs", tuple(answer), len(ids), 1, repeat)
        return self.ask(call)

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores:
        answers = [self._encoded(label) for label in labels]
        replies, found = [], []
        for answer in answers:
            replies.append(self.log_probabilities(prompt, answer, repeat))
            found.append(sum(_known(value) for value in replies[-1].log_probabilities[: len(answer)]))
        return _scores(found, answers, replies)

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best:
        return self.score(prompt, labels, repeat).best()


@dataclass
class TrieWalk:
    """Next-token log-probabilities after every common prefix of the labels: `/completion` of the llama.cpp server."""

    ask: Ask
    tokens: Tokens
    vocabulary: int

    def __post_init__(self) -> None:
        self._encoded = _encoder(self.tokens)

    def next_token(self, ids: Sequence[int], wanted: Sequence[int], listed: int, repeat: int = 0) -> Reply:
        """The log-probabilities of the wanted tokens after `ids`, as far as they are among the `listed` likeliest."""
        body = {"prompt": list(ids), "n_predict": 1, "n_probs": listed, "temperature": 0, "cache_prompt": True}
        return self.ask(Call("//completion", body, "next_logprobs", tuple(wanted), len(ids), 1, repeat))

    def score(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Scores:
        """Every label: one request a node of the trie, two where tokens are improbable."""
        answers = [self._encoded(label) for label in labels]
        found: dict[tuple[int, ...], float] = {(): 0.0}
        replies: list[Reply] = []
        for prefix, wanted in _trie(answers).items():
            reply = self.next_token([*prompt, *prefix], wanted, min(LISTED, self.vocabulary), repeat)
            replies.append(reply)
            if None in reply.log_probabilities:
                reply = self.next_token([*prompt, *prefix], wanted, self.vocabulary, repeat)
                replies.append(reply)
            for token, value in zip(wanted, reply.log_probabilities, strict=True):
                found[*prefix, token] = found[prefix] + _known(value)
        return _scores([found[answer] for answer in answers], answers, replies)

    def choose(self, prompt: Sequence[int], labels: Sequence[str], repeat: int = 0) -> Best:
        """The likeliest label: a best-first search. A prefix is at most as likely as what it begins with, so that the
        first whole label that comes up is the likeliest. An unlisted token has the smallest listed log-probability as
        its upper bound until it comes up."""
        answers = [self._encoded(label) for label in labels]
        trie, replies = _trie(answers), list[Reply]()
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
                    replies.append(reply)
                    whole[before] = dict(zip(trie[before], map(_known, reply.log_probabilities), strict=True))
                total[prefix] = total[before] + whole[before][token]
                heapq.heappush(queue, (-total[prefix], prefix, True))
            elif prefix in places:
                return Best(places[prefix], total[prefix], len(prefix), *_cost(replies))
            else:
                reply = self.next_token([*prompt, *prefix], trie[prefix], min(LISTED, self.vocabulary), repeat)
                replies.append(reply)
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
