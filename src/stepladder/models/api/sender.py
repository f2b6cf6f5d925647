"""The process that sends requests: `python -m stepladder.models.api.sender`, calls in, replies out, as JSON lines.

It has a session of its own and outlives the process that started it: if that is killed, requests in flight are
finished and stored, and nothing more is sent. So no answer that the server computes is lost, and none is asked twice.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from filelock import FileLock, Timeout

from stepladder.errors import UserError
from stepladder.io.redaction import mask_tracebacks
from stepladder.io.serialise import from_plain, to_plain
from stepladder.models.api.client import AttemptError, Client, RetryDecision
from stepladder.models.api.journal import Journal
from stepladder.models.api.limits import Budget, RateLimit, StoppedError
from stepladder.models.api.values import Call, Reply, Settings

BACKOFF, LONGEST = 0.5, 60.0
PATIENCE = 3600.0
"""A server that asks to wait longer than so many seconds is not waited for."""


class Sender:
    """Takes replies from the journal or sends requests, each at most `attempts` times."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings, self.journal = settings, journal
        self.stopping = threading.Event()
        self._client = Client(settings)
        self._rate = RateLimit(settings, self.stopping, list(journal.attempts.values()))
        self._budget = Budget(settings, journal)
        self._guard = threading.Lock()
        self._same: dict[str, Future[Reply]] = {}

    def reply(self, call: Call) -> Reply:
        """The reply to a call. The same call in flight is sent once.

        Raises:
            UserError: The server cannot be asked, or the budget is used up.
            StoppedError: The process that asked is gone.
        """
        if not call.stored:
            return self._sent(call)
        with self._guard:
            if (stored := self.journal.reply(call)) is not None:
                return stored
            running = self._same.get(call.key)
            own: Future[Reply] = Future()
            if running is None:
                self._same[call.key] = own
        if running is not None:
            return running.result()
        try:
            own.set_result(self._sent(call))
        except BaseException as error:
            own.set_exception(error)
            raise
        finally:
            with self._guard:
                del self._same[call.key]
        return own.result()

    def _sent(self, call: Call) -> Reply:
        for attempt in range(1, self.settings.attempts + 1):
            if self.stopping.is_set():
                raise StoppedError
            try:
                return self._attempt(call)
            except AttemptError as failure:
                if not failure.decision.retry or attempt == self.settings.attempts:
                    error, tried = failure.error, f" (tried {attempt} times)" if attempt > 1 else ""
                    raise UserError(f"{error.what}{tried}", error.where, error.to_do) from failure
                self._wait(failure.decision, attempt, failure.error)
        raise AssertionError("there is at least one attempt")

    def _attempt(self, call: Call) -> Reply:
        if not call.billed:
            return self._client.send(call)
        self._rate.wait(call)
        name = self._budget.intend(call)
        try:
            reply = self._client.send(call)
            self.journal.answer(name, call, reply)
            return reply
        except AttemptError as failure:
            if not failure.decision.billed:
                self.journal.release(name)
            raise
        finally:
            self._budget.settle()

    def _wait(self, decision: RetryDecision, attempt: int, error: UserError) -> None:
        seconds = decision.after
        if seconds is None:
            seconds = min(LONGEST, BACKOFF * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        elif seconds > PATIENCE:
            raise UserError(f"{error.what}; it asks to wait {seconds:,.0f} s", error.where, error.to_do)
        if decision.everyone:
            self._rate.pause(seconds)
        if self.stopping.wait(seconds):
            raise StoppedError


class Pipe:
    """Writes replies to the process that asked, as long as it is there."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._guard, self._open = stream, threading.Lock(), True

    def write(self, record: dict[str, Any]) -> None:
        with self._guard:
            try:
                if self._open:
                    self._stream.write(json.dumps(record) + "\n")
                    self._stream.flush()
            except OSError:
                self._open = False


def serve(lines: TextIO, pipe: Pipe) -> None:
    """Answer calls until there are no more lines; then finish what is in flight."""
    settings = from_plain(Settings, json.loads(lines.readline()), "the first line")
    path = Path(settings.journal)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=2)
    except Timeout:
        pipe.write({"waiting": True})
        lock.acquire()
    with lock:
        try:
            sender = Sender(settings, Journal(path))
        except UserError as error:
            pipe.write({"id": None, "error": [error.what, error.where, error.to_do]})
            return
        with ThreadPoolExecutor(settings.concurrency) as pool:
            for line in lines:
                request = json.loads(line)
                pool.submit(_work, sender, pipe, request["id"], request["call"])
            sender.stopping.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _work(sender: Sender, pipe: Pipe, number: int, plain: dict[str, Any]) -> None:
    try:
        reply = sender.reply(from_plain(Call, plain, "a call"))
        pipe.write({"id": number, "reply": to_plain(reply)})
    except UserError as error:
        pipe.write({"id": number, "error": [error.what, error.where, error.to_do]})
    except StoppedError:
        pass
    except BaseException as error:
        pipe.write({"id": number, "bug": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    mask_tracebacks()
    serve(sys.stdin, Pipe(sys.stdout))
