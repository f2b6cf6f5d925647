"""The sending process as its user sees it: a call in, a reply out."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from stepladder.errors import ModelError
from stepladder.io.serialise import from_plain, to_plain
from stepladder.models.api.values import Call, Reply, Settings


class Connection:
    """A sending process while the context is open. Calls may come from several threads.

    Leaving the context waits for nothing: what is in flight is finished and stored by the process itself.
    """

    def __init__(self, settings: Settings, note: Callable[[str], None]) -> None:
        self.settings, self._note = settings, note
        self._waiting: dict[int, Future[Reply]] = {}
        self._guard = threading.Lock()
        self._number = 0
        self._gone: Exception | None = None

    def __enter__(self) -> Connection:
        # -P: no module of the current directory is imported.
        command = [sys.executable, "-P", "-m", "stepladder.models.api.sender"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, encoding="utf-8"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._write(to_plain(self.settings))
        return self

    def __exit__(self, *_: object) -> None:
        self._fail(ModelError("The connection is closed"))
        try:
            assert self._process.stdin is not None
            self._process.stdin.close()
        except OSError:
            return  # the process has ended

    def ask(self, call: Call) -> Reply:
        """Send a call and wait for its reply.

        Raises:
            ModelError: The server cannot be asked, or its budget is used up.
        """
        future: Future[Reply] = Future()
        with self._guard:
            if self._gone is not None:
                raise self._gone
            self._number += 1
            self._waiting[self._number] = future
            number = self._number
        self._write({"id": number, "call": to_plain(call)})
        return future.result()

    def _write(self, record: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with self._guard:
            try:
                self._process.stdin.write(json.dumps(record) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                pass  # the process has ended: the reader fails all calls

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._take(json.loads(line))
        code = self._process.wait()
        self._process.stdout.close()
        self._fail(RuntimeError(f"the process that sends requests ended with exit code {code}"))

    def _take(self, record: dict[str, Any]) -> None:
        if record.get("waiting"):
            self._note("waiting for another command, or its requests in flight, on the same server and outputs")
            return
        error = ModelError(*record["error"]) if "error" in record else None
        if record["id"] is None:
            self._fail(error or RuntimeError("the process that sends requests failed"))
            return
        with self._guard:
            future = self._waiting.pop(record["id"], None)
        if future is None:
            return
        if error is not None:
            future.set_exception(error)
        elif "bug" in record:
            future.set_exception(RuntimeError(record["bug"]))
        else:
            future.set_result(from_plain(Reply, record["reply"], "the sending process"))

    def _fail(self, error: Exception) -> None:
        """Every call that waits, and every later one, raises the error."""
        with self._guard:
            self._gone = self._gone or error
            waiting = list(self._waiting.values())
            self._waiting.clear()
        for future in waiting:
            future.set_exception(self._gone)
