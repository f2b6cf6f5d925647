"""Reads responses strictly: a body without what is needed is an error, never a default value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from stepladder.models.api.values import Call, Reply
from stepladder.types import Plain

ENDS = ("stop", "length", "content_filter")
ABOVE_ZERO = 1e-4
"""Rounding: a log-probability may be so much larger than 0."""


class MalformedError(Exception):
    """A response that does not have the form of the API; the message says what is wrong."""


def read(call: Call, body: Any) -> Reply:
    """What the call wants of the body.

    Raises:
        MalformedError: The body is not well-formed.
    """
    if not isinstance(body, Mapping):
        raise MalformedError(f"the response is no JSON object: {type(body).__name__}")
    if call.reads == "chat":
        return _chat(body)
    if call.reads == "prompt_logprobs":
        return _prompt_logprobs(call, body)
    if call.reads == "next_logprobs":
        return _next_logprobs(call, body)
    return Reply(body=dict(body))


def _chat(body: Plain) -> Reply:
    choice = _only_choice(body)
    message = choice.get("message")
    if not isinstance(message, Mapping):
        raise MalformedError("the response has no message")
    end = choice.get("finish_reason")
    if end not in ENDS:
        raise MalformedError(f"finish_reason is {end!r}, not one of {', '.join(ENDS)}")
    text = message.get("content")
    if text is None and (end != "stop" or message.get("refusal") or message.get("reasoning_content")):
        text = message.get("refusal") or ""  # all tokens went into reasoning, or the server refuses to answer
    if not isinstance(text, str):
        raise MalformedError("the message has no content")
    prompt_tokens, new_tokens = _usage(body)
    return Reply(text, end == "stop", prompt_tokens=prompt_tokens, new_tokens=new_tokens, **_server(body))


def _prompt_logprobs(call: Call, body: Plain) -> Reply:
    """Of an echoed prompt of token ids: the log-probabilities of its last tokens, the wanted ones."""
    choice = _only_choice(body)
    logprobs = choice.get("logprobs")
    listed = logprobs.get("token_logprobs") if isinstance(logprobs, Mapping) else None
    if not isinstance(listed, Sequence):
        raise MalformedError("the response has no log-probabilities of the prompt (token_logprobs)")
    prompt = (call.payload or {})["prompt"]
    prompt_tokens, new_tokens = _usage(body)
    if prompt_tokens != len(prompt) or len(listed) != len(prompt) + new_tokens:
        what = f"the prompt has {len(prompt)} tokens, the server counts {prompt_tokens} and {new_tokens} generated ones"
        raise MalformedError(f"{what}, and gives log-probabilities of {len(listed)}")
    found = tuple(map(_log_probability, listed[len(prompt) - len(call.wanted) :]))  # and those of generated tokens
    text = choice.get("text")
    return Reply(
        text if isinstance(text, str) else "",
        log_probabilities=found,
        prompt_tokens=prompt_tokens,
        new_tokens=new_tokens,
        **_server(body),
    )


def _next_logprobs(call: Call, body: Plain) -> Reply:
    """Of llama.cpp's `/completion`: the log-probabilities of the wanted tokens at the first generated position."""
    prompt = (call.payload or {})["prompt"]
    if body.get("tokens_evaluated") != len(prompt) or body.get("truncated"):
        counted = body.get("tokens_evaluated")
        raise MalformedError(f"the prompt has {len(prompt)} tokens, and the server evaluated {counted}")
    positions = body.get("completion_probabilities")
    first = positions[0] if isinstance(positions, Sequence) and positions else None
    listed = first.get("top_logprobs") if isinstance(first, Mapping) else None
    if not isinstance(listed, Sequence) or not listed:
        raise MalformedError("the response has no log-probabilities (completion_probabilities[0].top_logprobs)")
    if not all(isinstance(each, Mapping) and _whole(each.get("id")) for each in listed):
        raise MalformedError("the listed log-probabilities have no token ids")
    by_id = {each["id"]: _log_probability(each.get("logprob")) for each in listed}
    best = max(listed, key=lambda each: by_id[each["id"]])
    return Reply(
        str(best.get("token")),
        log_probabilities=tuple(by_id.get(id_) for id_ in call.wanted),
        floor=min(by_id.values()),
        mass=sum(map(math.exp, by_id.values())),
        prompt_tokens=len(prompt),
        new_tokens=1,
        **_server(body),
    )


def _only_choice(body: Plain) -> Plain:
    choices = body.get("choices")
    if not isinstance(choices, Sequence) or len(choices) != 1 or not isinstance(choices[0], Mapping):
        raise MalformedError("the response does not have exactly one choice")
    if choices[0].get("index", 0) != 0:
        raise MalformedError(f"the choice has index {choices[0].get('index')}, not 0")
    return choices[0]


def _usage(body: Plain) -> tuple[int, int]:
    usage = body.get("usage")
    own: Plain = usage if isinstance(usage, Mapping) else {}
    prompt_tokens, new_tokens = own.get("prompt_tokens"), own.get("completion_tokens")
    if not _whole(prompt_tokens) or not _whole(new_tokens):
        raise MalformedError("the response does not count its tokens (usage), so that its cost is unknown")
    return prompt_tokens, new_tokens


def _server(body: Plain) -> dict[str, Any]:
    fingerprint = body.get("system_fingerprint")
    return {"model": str(body.get("model") or ""), "fingerprint": str(fingerprint) if fingerprint else None}


def _log_probability(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= ABOVE_ZERO:
        raise MalformedError(f"{value!r} is no log-probability")
    return max(float(value), -1e4)


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
