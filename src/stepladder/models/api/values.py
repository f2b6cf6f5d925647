"""What is asked of a server and what it replied: values that cross the pipe to the sending process as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

from stepladder.models.conversation import Tariff
from stepladder.types import Plain

Reads = Literal["chat", "prompt_logprobs", "next_logprobs", "plain"]


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        path: After the address, such as `/chat/completions`; with `//` before it, after the address without `/v1`.
        payload: The JSON body; None sends a GET.
        reads: What is read off the response (`readings.py`).
        wanted: Token ids whose log-probabilities are read.
        prompt_tokens: The largest number of prompt tokens that the server can count.
        new_tokens: The largest number of tokens that it can generate.
        repeat: The number of times that the same was asked before on purpose, to measure how often answers change.
        stored: Whether the reply is stored and taken from the journal; else it is asked at every start.
        patient: Whether a server that does not accept connections is tried again.
    """

    path: str
    payload: Plain | None
    reads: Reads = "plain"
    wanted: tuple[int, ...] = ()
    prompt_tokens: int = 0
    new_tokens: int = 0
    repeat: int = 0
    stored: bool = True
    patient: bool = True

    @property
    def key(self) -> str:
        """A digest of what is asked."""
        asked = [self.path, self.payload, self.reads, list(self.wanted), self.repeat]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, ensure_ascii=False).encode()).hexdigest()

    @property
    def billed(self) -> bool:
        """Whether the server runs the model for it."""
        return self.reads != "plain"


@dataclass(frozen=True)
class Reply:
    """What was read off a response.

    Attributes:
        text: The answer; of `next_logprobs` the most probable token.
        finished: Whether the answer ended by itself.
        log_probabilities: Of the wanted tokens, natural; None for one that the server did not list.
        floor: The smallest listed log-probability: an upper bound for tokens that are not listed.
        mass: The sum of the listed probabilities.
        prompt_tokens, new_tokens: As the server counts them.
        seconds: From sending the request to its response.
        model: What the server calls the model.
        fingerprint: The server's `system_fingerprint`.
        body: The whole response, of `plain`.
    """

    text: str = ""
    finished: bool = True
    log_probabilities: tuple[float | None, ...] = ()
    floor: float = 0.0
    mass: float = 0.0
    prompt_tokens: int = 0
    new_tokens: int = 0
    seconds: float = 0.0
    model: str = ""
    fingerprint: str | None = None
    body: Plain = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """How the sending process works. The key itself is not here: the process reads it from its environment."""

    base_url: str
    journal: str
    api_key_env: str | None = None
    concurrency: int = 8
    timeout: float = 600.0
    attempts: int = 6
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget: float | None = None
    tariff: Tariff = field(default_factory=Tariff)
