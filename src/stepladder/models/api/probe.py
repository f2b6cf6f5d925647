"""Tests, before the first question, of what a decoding needs from the server. Doubt is an error.

Log-probabilities are tested on known answers. Each text repeats itself, so that every language model continues it the
same way, and each has a twin with the two continuations exchanged, so that no constant or context-free score passes.
A server that ignores `echo` returns status 200 and scores at chance (llama.cpp issue 27174).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

from stepladder.errors import ModelError
from stepladder.models.api.scoring import (
    LISTED,
    Ask,
    LlamaCppTokens,
    PromptScorer,
    Scorer,
    Tokens,
    TrieWalk,
    VllmTokens,
)
from stepladder.models.api.values import Call, Reply
from stepladder.types import Message, Plain

Exact = Literal["prompt_logprobs", "walk"]
MARGIN = 1.0
"""The right continuation is more probable than the wrong one by at least so many nats."""
TOLERANCE = 0.1
"""Two requests for one log-probability differ by at most so many nats: servers compute in 16 or fewer bits."""
MASS = 0.02
"""The probabilities of the whole vocabulary add up to 1 within so much."""

_BETWEEN = " Then, after a while, the children went to the market and bought bread, milk and a kilo of apples."
_TEXTS = (  # the last two ask for something that was said far before
    ("seven{0}, seven{0}, seven{0}, seven{0}, seven", " dogs", " trees"),
    ("I like{0}. I like{0}. I like{0}. I like{0}. I like", " tea", " rice"),
    ("The password is{0}." + _BETWEEN + " Remember: the password is", " tiger", " paper"),
    ("Anna lives in{0}. Anna lives in{0}." + _BETWEEN + " Anna lives in", " Rome", " Paris"),
)
CONVERSATIONS = (
    (Message("user", "What is the capital of France?"),),
    (Message("system", "Answer with one word."), Message("user", "Which animal says meow?")),
)


def known_answers() -> Iterator[tuple[str, str, str]]:
    """Texts, each with its right and a wrong continuation."""
    for text, one, other in _TEXTS:
        for right, wrong in ((one, other), (other, one)):
            yield text.format(right), right, wrong


def probe_chat(ask: Ask, payload: Callable[[Sequence[Message], int], Plain]) -> Reply:
    """A short conversation: the response must be well-formed."""
    messages = (Message("user", "Reply with the word OK."),)
    return ask(Call("/chat/completions", payload(messages, 8), "chat", (), 512, 8, stored=False, patient=False))


def probe_schema(ask: Ask, payload: Callable[[Sequence[Message], int, Plain], Plain]) -> bool:
    """Whether the server holds an answer to a JSON schema that no model would follow by itself."""
    labels = ["kqz-17", "kqz-71"]
    messages = (Message("user", "What is the capital of France?"),)
    body = payload(messages, 64, label_schema(labels))
    reply = ask(Call("/chat/completions", body, "chat", (), 1024, 64, stored=False))
    return written_label(reply.text) in labels


def label_schema(labels: Sequence[str]) -> Plain:
    """The schema of an object whose only field is one of the labels."""
    field = {"type": "string", "enum": list(labels)}
    return {"type": "object", "properties": {"label": field}, "required": ["label"], "additionalProperties": False}


def written_label(text: str) -> str | None:
    """The label in an answer under `label_schema`; None where there is none."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    label = found.get("label") if isinstance(found, dict) else None
    return label if isinstance(label, str) else None


def exact_scorer(ask: Ask, name: str, ways: Sequence[Exact], payload: Callable[..., Plain]) -> Scorer:
    """The first way of scoring labels exactly that passes its tests.

    Raises:
        ModelError: With what was wrong with each.
    """
    reasons = []
    for way in ways:
        try:
            if way == "prompt_logprobs":
                return _prompt_scorer(ask, name, payload)
            return _walk(ask, payload)
        except ModelError as error:
            reasons.append(f"{way}: {error.what}")
    raise ModelError(
        "The server does not give log-probabilities that labels can be scored by exactly. " + "; ".join(reasons),
        "model.choose",
        "say model.choose=constrained (the server holds the answer to the labels) or model.choose=text (free text that "
        "must equal a label): both give no probabilities. Or use a server that offers prompt log-probabilities (vLLM) "
        "or log-probabilities of the next token with token ids (llama.cpp)",
    )


def _prompt_scorer(ask: Ask, name: str, payload: Callable[..., Plain]) -> PromptScorer:
    scorer = PromptScorer(_unstored(ask), VllmTokens(ask, name), name)
    _check_known(scorer.tokens, lambda text, answer: scorer.log_probabilities(text, answer).log_probabilities[:-1])
    for messages in CONVERSATIONS:
        prompt = scorer.tokens.prompt(messages)
        chat = _first_word(ask, messages, prompt, payload)
        reply = scorer.log_probabilities(prompt, ())
        _require(reply.text.endswith(chat), "the completion of a rendered prompt is not the answer of the chat")
        ids = scorer.tokens.text(chat)
        if len(ids) == 1:
            again = scorer.log_probabilities(prompt, ids).log_probabilities[0]
            generated = reply.log_probabilities[-1]
            close = again is not None and generated is not None and abs(again - generated) <= TOLERANCE
            _require(close, "a token has another log-probability in the prompt than when it is generated")
    return PromptScorer(ask, scorer.tokens, name)


def _walk(ask: Ask, payload: Callable[..., Plain]) -> TrieWalk:
    tokens = LlamaCppTokens(ask)
    scorer = TrieWalk(_unstored(ask), tokens, _vocabulary(ask))

    def log_probabilities(text: Sequence[int], answer: Sequence[int]) -> list[float | None]:
        reply = scorer.next_token(text, answer, min(LISTED, scorer.vocabulary))
        # An unlisted token has at most the floor: enough for a wrong continuation.
        return [reply.floor if value is None else value for value in reply.log_probabilities]

    _check_known(tokens, log_probabilities)
    for messages in CONVERSATIONS:
        prompt = tokens.prompt(messages)
        chat = _first_word(ask, messages, prompt, payload)
        reply = scorer.next_token(prompt, [tokens.end], scorer.vocabulary)
        _require(reply.text.strip() == chat.strip(), "the likeliest token is not what the chat answers")
        _require(None not in reply.log_probabilities, "the end token has no log-probability")
        _require(abs(reply.mass - 1) <= MASS, f"the probabilities of all tokens add up to {reply.mass:.3f}, not 1")
    return TrieWalk(ask, tokens, scorer.vocabulary)


def _check_known(
    tokens: Tokens, log_probabilities: Callable[[Sequence[int], Sequence[int]], Sequence[float | None]]
) -> None:
    for text, right, wrong in known_answers():
        one, two = tokens.text(right), tokens.text(wrong)
        # One token each, the first that differs: log-probabilities of a neighbouring position would be equal.
        same = next(place for place, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
        ids = [*tokens.text(text), *one[:same]]
        first, second = (log_probabilities(ids, [answer[same]])[0] for answer in (one, two))
        if first is None or second is None:
            raise ModelError("a token has no log-probability")
        what = f"after {text[-30:]!r} it scores {right!r} {first:.2f} and {wrong!r} {second:.2f}"
        _require(first - second >= MARGIN, f"its log-probabilities are wrong: {what}")


def _first_word(ask: Ask, messages: Sequence[Message], prompt: Sequence[int], payload: Callable[..., Plain]) -> str:
    """The first token of the chat's greedy answer. The chat must read the same prompt."""
    reply = ask(Call("/chat/completions", payload(messages, 1), "chat", (), len(prompt) + 64, 1, stored=False))
    what = f"the chat reads a prompt of {reply.prompt_tokens} tokens, and the rendered one has {len(prompt)}"
    _require(reply.prompt_tokens == len(prompt), what)
    return reply.text


def _vocabulary(ask: Ask) -> int:
    """The size of the vocabulary, which the llama.cpp server lists."""
    data = ask(Call("/models", None)).body.get("data")
    listed = [each.get("meta") for each in data if isinstance(each, dict)] if isinstance(data, list) else []
    sizes = [meta.get("n_vocab") for meta in listed if isinstance(meta, dict)]
    if not sizes or not isinstance(sizes[0], int):
        raise ModelError("the server does not say the size of its vocabulary (/v1/models, meta.n_vocab)")
    return sizes[0]


def _unstored(ask: Ask) -> Ask:
    """Asks anew at every start: the server may have changed."""
    return lambda call: ask(replace(call, stored=False))


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ModelError(what)
