"""One HTTP request, and what a failure means: whether to try again, when, and whether it may have been billed."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from stepladder.errors import UserError
from stepladder.io.redaction import MASK, mask
from stepladder.models.api.readings import MalformedError, read
from stepladder.models.api.values import Call, Reply, Settings

RETRIED = frozenset({408, 409, 425, 429})
SHOWN = 300
"""Characters of a server's error message that are shown."""


@dataclass(frozen=True)
class RetryDecision:
    """What to do after a failure.

    Attributes:
        retry: Whether the same request may succeed later.
        after: Seconds that the server asks to wait; None: the usual backoff.
        billed: Whether the server may have computed an answer.
        everyone: Whether other requests should wait, too.
    """

    retry: bool
    after: float | None = None
    billed: bool = False
    everyone: bool = False


class AttemptError(Exception):
    """A request failed. `error` is what the user is told if nobody tries again."""

    def __init__(self, error: UserError, decision: RetryDecision) -> None:
        super().__init__(error.what)
        self.error, self.decision = error, decision


class Client:
    """Sends requests to one server. The key is read from the environment and shown in no message."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._key = os.environ.get(settings.api_key_env, "") if settings.api_key_env else ""
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=settings.concurrency)
        self._http = httpx.Client(
            headers=headers, timeout=settings.timeout, limits=limits, trust_env=not is_local(settings.base_url)
        )

    def send(self, call: Call) -> Reply:
        """Send a call once.

        Raises:
            AttemptError: With what to do about it.
        """
        url = address(self.settings.base_url, call.path)
        began = time.perf_counter()
        try:
            response = self._http.get(url) if call.payload is None else self._http.post(url, json=call.payload)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            to_do = "check model.base_url, and that the server is running and reachable from this machine"
            decision = RetryDecision(retry=call.patient)
            raise self._failed(f"The server cannot be reached: {self._said(str(error))}", to_do, decision) from error
        except httpx.HTTPError as error:  # a connection that broke, a timeout, a body that ended early
            what = f"The server did not finish its response: {self._said(str(error) or type(error).__name__)}"
            to_do = "run the same command again, or set a larger model.timeout or a smaller model.concurrency"
            raise self._failed(what, to_do, RetryDecision(True, billed=True)) from error
        seconds = time.perf_counter() - began
        if not response.is_success:
            raise self._refused(response)
        try:
            return replace(read(call, response.json()), seconds=round(seconds, 6))
        except (ValueError, MalformedError) as error:
            why = str(error) if isinstance(error, MalformedError) else "the body is no complete JSON"
            to_do = "check that model.base_url is an OpenAI-compatible API, and the server's log"
            raise self._failed(f"A response is malformed: {why}", to_do, RetryDecision(True, billed=True)) from error

    def close(self) -> None:
        self._http.close()

    def _refused(self, response: httpx.Response) -> AttemptError:
        status = response.status_code
        what = f"The server answered {status}: {self._said(_message(response)) or response.reason_phrase}"
        if status in RETRIED or status >= 500:
            quota = status == 429 and "insufficient_quota" in response.text
            decision = RetryDecision(not quota, _retry_after(response), everyone=status in (429, 503))
            return self._failed(what, "run the same command again later", decision)
        to_do = {
            401: "set model.api_key_env to the name of an environment variable with a valid key",
            403: "check that the key may use this model",
            404: "check model.base_url (it usually ends in /v1) and model.name",
            413: "shorten the prompt: show less (retrieval.k, demonstrations.k)",
        }.get(status, "the message of the server says what it does not take; model.extra changes requests")
        return self._failed(what, to_do, RetryDecision(retry=False))

    def _failed(self, what: str, to_do: str, decision: RetryDecision) -> AttemptError:
        return AttemptError(UserError(what, self.settings.base_url, to_do), decision)

    def _said(self, text: str) -> str:
        """A server's words without secrets."""
        shown = text.replace(self._key, MASK) if self._key else text
        return str(mask(" ".join(shown.split())))[:SHOWN]


def address(base_url: str, path: str) -> str:
    """The URL of a path; `//path` is outside `/v1`, where llama.cpp and vLLM have their own endpoints."""
    if path.startswith("//"):
        return base_url.removesuffix("/v1") + path[1:]
    return base_url + path


def is_local(url: str) -> bool:
    """Whether a server is on this machine, so that no proxy is used."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _message(response: httpx.Response) -> str:
    try:
        body = response.json()
    except ValueError:
        return response.text
    error = body.get("error", body) if isinstance(body, Mapping) else body
    return str(error.get("message", error) if isinstance(error, Mapping) else error)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds of the header `Retry-After`, which has a number or a date."""
    given = response.headers.get("retry-after")
    if not given:
        return None
    with suppress(ValueError):
        return max(0.0, float(given))
    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
    return None
