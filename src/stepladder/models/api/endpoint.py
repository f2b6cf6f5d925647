"""Where a model behind an OpenAI-compatible API is, and how it may be used. Constructing it sends nothing."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import urlsplit

from stepladder.errors import ConfigError, Fault
from stepladder.models.api.values import Settings
from stepladder.models.conversation import Tariff
from stepladder.types import Plain

if TYPE_CHECKING:
    from stepladder.models.api.served import ServedModel

LEAST = {"concurrency": 1, "attempts": 1, "retest": 0, "requests_per_minute": 1, "tokens_per_minute": 1}
OWN = ("model", "messages", "stream", "n", "temperature", "response_format", "logprobs", "echo", "prompt")
"""Fields of a request that `extra` may not set."""


@dataclass(frozen=True)
class Endpoint:
    """A model behind an OpenAI-compatible API.

    Args:
        base_url: Its address, usually ending in /v1.
        name: The model's name on the server.
        api_key_env: The name of the environment variable with the key; None sends no key.
        choose: How labels are chosen. Exactly, by log-probabilities: `prompt_logprobs` (vLLM), `walk` (llama.cpp), or
            `auto`, the first of them that passes its test. Without probabilities: `constrained`, an answer under a JSON
            schema, or `text`, free text that must equal a label.
        concurrency: Requests at a time.
        timeout: Seconds without a byte from the server after which a request is repeated.
        attempts: Of each request.
        requests_per_minute: None for no limit.
        tokens_per_minute: Prompt and answer; None for no limit.
        budget: The largest amount that all requests to this model from this outputs directory may cost.
        currency: Of the prices and of the budget.
        million_prompt_tokens: The price.
        million_new_tokens: The price.
        retest: So many questions are asked twice, to measure how often answers change.
        extra: Further fields of chat requests; None removes one.
    """

    base_url: str
    name: str
    api_key_env: str | None = None
    choose: Literal["auto", "prompt_logprobs", "walk", "constrained", "text"] = "auto"
    concurrency: int = 8
    timeout: float = 600.0
    attempts: int = 6
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget: float | None = None
    currency: str | None = None
    million_prompt_tokens: float = 0.0
    million_new_tokens: float = 0.0
    retest: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        faults = [*self._faults_of_address(), *self._faults_of_prices()]
        for name, least in LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                faults.append(Fault(name, f"{value} is less than {least}", f"give a whole number from {least}"))
        if not self.timeout > 0:
            faults.append(Fault("timeout", f"{self.timeout} is not a time", "give a number of seconds above 0"))
        if self.api_key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", self.api_key_env):
            what = "this is not the name of an environment variable"
            faults.append(Fault("api_key_env", what, "name the variable that has the key, not the key itself"))
        faults += [
            Fault(f"extra.{name}", "Stepladder sets this field itself", "leave it out")
            for name, value in self.extra.items()
            if name in OWN and not (name == "temperature" and value is None)
        ]
        if faults:
            raise ConfigError(faults)

    @property
    def tariff(self) -> Tariff:
        """The prices of this model's tokens."""
        return Tariff(self.currency, float(self.million_prompt_tokens), float(self.million_new_tokens))

    @property
    def address(self) -> str:
        """The base URL in one form: no slash at the end, and `/v1` where there is no path."""
        url = self.base_url.rstrip("/")
        return url if urlsplit(url).path else f"{url}/v1"

    def fingerprint(self) -> Plain:
        """What answers depend on as far as it is known here. The server's weights may change without notice."""
        own: dict[str, Any] = {
            "api": self.version,
            "base_url": self.address,
            "name": self.name,
            "weights": "not pinned",
        }
        if self.choose != "auto":
            own["choose"] = self.choose
        if self.retest:
            own["retest"] = self.retest
        if self.extra:
            own["extra"] = dict(self.extra)
        return own

    def check_access(self) -> None:
        if self.api_key_env is not None and not os.environ.get(self.api_key_env):
            what = f"the environment variable {self.api_key_env} is not set"
            raise ConfigError(Fault("model.api_key_env", what, f"set it to the key: export {self.api_key_env}=…"))

    def open(self, shared: Path | None, note: Callable[[str], None]) -> ServedModel:
        from stepladder.models.api.served import ServedModel

        self.check_access()
        folder = shared or Path(tempfile.mkdtemp(prefix="stepladder-"))
        digest = hashlib.sha256(f"{self.address}\n{self.name}".encode()).hexdigest()[:16]
        settings = Settings(
            base_url=self.address,
            journal=str((folder / f"api-{digest}.jsonl").absolute()),
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            timeout=float(self.timeout),
            attempts=self.attempts,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            budget=None if self.budget is None else float(self.budget),
            tariff=self.tariff,
        )
        return ServedModel(settings, self.name, self.choose, self.retest, self.extra, note)

    def _faults_of_address(self) -> list[Fault]:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return [Fault("base_url", f"'{self.base_url}' is no address of a server", "write http://HOST:PORT/v1")]
        if parts.query or parts.fragment or parts.username:
            what = "the address has a query, a fragment or a user name"
            return [Fault("base_url", what, "write http://HOST:PORT/v1, and give a key by model.api_key_env")]
        return [] if self.name else [Fault("name", "there is no name", "give the name that the server lists")]

    def _faults_of_prices(self) -> list[Fault]:
        prices = {name: getattr(self, name) for name in ("million_prompt_tokens", "million_new_tokens")}
        faults = [
            Fault(name, f"{value} is not a price", "give a number from 0")
            for name, value in prices.items()
            if not 0 <= value < float("inf")
        ]
        if any(prices.values()) and self.currency is None:
            faults.append(Fault("currency", "a price has no currency", "say model.currency=EUR"))
        if self.budget is not None:
            if not 0 < self.budget < float("inf"):
                faults.append(Fault("budget", f"{self.budget} is not an amount", "give a number above 0"))
            if not any(prices.values()):
                to_do = "give model.million_prompt_tokens, model.million_new_tokens and model.currency"
                faults.append(Fault("budget", "a budget needs the prices of tokens", to_do))
        return faults
