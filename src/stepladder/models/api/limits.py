"""Limits on requests: how many a minute, how many tokens a minute, and how much money in total."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from stepladder.errors import UserError
from stepladder.models.api.journal import Attempt, Journal
from stepladder.models.api.values import Call, Settings

MINUTE = 60.0


class StoppedError(Exception):
    """The process that asked is gone: what is not sent yet is not sent."""


class RateLimit:
    """A sliding window of a minute. `recent`: attempts of an earlier process, which the server counts, too."""

    def __init__(self, settings: Settings, stopping: threading.Event, recent: Iterable[Attempt] = ()) -> None:
        self._requests, self._tokens = settings.requests_per_minute, settings.tokens_per_minute
        self._stopping, self._guard = stopping, threading.Lock()
        self._closed_until = 0.0
        since = time.time() - MINUTE
        # Of each request the time and its tokens.
        self._sent = [(each.time, each.prompt_tokens + each.new_tokens) for each in recent if each.time > since]

    def wait(self, call: Call) -> None:
        """Return when the call may be sent. A call that is larger than the limit is sent alone.

        Raises:
            StoppedError: The process that asked is gone.
        """
        tokens = call.prompt_tokens + call.new_tokens
        while (seconds := self._missing(tokens)) > 0:
            if self._stopping.wait(min(seconds, 5.0)):
                raise StoppedError

    def pause(self, seconds: float) -> None:
        """Send nothing for so long: the server said so."""
        with self._guard:
            self._closed_until = max(self._closed_until, time.time() + seconds)

    def _missing(self, tokens: int) -> float:
        """Seconds to wait; where it is 0 the call counts as sent."""
        with self._guard:
            now = time.time()
            if now < self._closed_until:
                return self._closed_until - now
            self._sent = [each for each in self._sent if each[0] > now - MINUTE]
            if self._requests and len(self._sent) >= self._requests:
                return self._sent[-self._requests][0] + MINUTE - now + 0.001
            if self._tokens and self._sent and sum(each[1] for each in self._sent) + tokens > self._tokens:
                return self._sent[0][0] + MINUTE - now + 0.001
            self._sent.append((now, tokens))
            return 0.0


class Budget:
    """What has been spent, with the worst case of the requests in flight, never exceeds the budget."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._limit, self._tariff, self._journal = settings.budget, settings.tariff, journal
        self._changed = threading.Condition()
        self._in_flight = 0

    def intend(self, call: Call) -> str:
        """Reserve the worst case of a call and note it in the journal. Waits for requests in flight if it does not fit.

        Raises:
            UserError: It does not fit, with nothing in flight.
        """
        with self._changed:
            while not self._fits(call):
                if not self._in_flight:
                    raise self._spent(call)
                self._changed.wait(timeout=1.0)
            self._in_flight += 1
            return self._journal.intend(call)

    def settle(self) -> None:
        """A request is not in flight any more, and the journal has its outcome."""
        with self._changed:
            self._in_flight -= 1
            self._changed.notify_all()

    def _fits(self, call: Call) -> bool:
        if self._limit is None:
            return True
        prompt_tokens, new_tokens = self._journal.tokens()
        worst: float = self._tariff.cost(prompt_tokens + call.prompt_tokens, new_tokens + call.new_tokens)
        return worst <= self._limit

    def _spent(self, call: Call) -> UserError:
        spent, currency = self._tariff.cost(*self._journal.tokens()), self._tariff.currency
        next_ = self._tariff.cost(call.prompt_tokens, call.new_tokens)
        return UserError(
            f"The budget of {self._limit:g} {currency} is used up: {spent:.6g} {currency} are spent, and the next "
            f"request may cost {next_:.6g} {currency}. {self._journal.answered:,} answers are stored",
            "model.budget",
            "set a larger model.budget",
        )
