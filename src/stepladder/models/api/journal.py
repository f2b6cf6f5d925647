"""The journal of an endpoint: what was asked and what was replied, one JSON record a line, flushed to disk.

Before a request an intent with its worst-case tokens is written, after it the reply, or that it cost nothing. An intent
without either counts in full: the server may have billed it.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepladder.errors import StoreError
from stepladder.io.serialise import from_plain, to_plain
from stepladder.models.api.values import Call, Reply
from stepladder.types import Plain


@dataclass
class Attempt:
    """A request that was or will be sent: its worst-case tokens, or the counted ones once there is a reply."""

    prompt_tokens: int
    new_tokens: int
    time: float


class Journal:
    """Append-only. One process at a time writes it; the caller holds the lock.

    Raises:
        StoreError: A record other than the last, unfinished one is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.attempts: dict[str, Attempt] = {}
        self._replies: dict[str, Plain] = {}
        self._tokens = [0, 0]
        self._guard = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            whole = self._read(stream)
            stream.truncate(whole)
        self._stream = path.open("ab")

    def _read(self, stream: Any) -> int:
        """Read all records. Returns the length of the whole ones: a crash can cut the last one off."""
        stream.seek(0)
        length = 0
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            try:
                self._take(json.loads(line))
            except (ValueError, LookupError, TypeError) as error:
                what = f"Line {number} of the stored answers is damaged: {error}"
                raise StoreError(
                    what, str(self.path), "restore the file, or move it away to ask everything again"
                ) from error
            length += len(line)
        return length

    def _take(self, record: Mapping[str, Any]) -> None:
        name = record["attempt"]
        if "reply" in record:
            reply, attempt = record["reply"], self.attempts[name]
            self._count(attempt, -1)
            attempt.prompt_tokens, attempt.new_tokens = reply["prompt_tokens"], reply["new_tokens"]
            self._count(attempt)
            if record["key"]:
                self._replies[record["key"]] = reply
        elif record.get("unbilled"):
            self._count(self.attempts.pop(name), -1)
        else:
            self.attempts[name] = Attempt(record["prompt_tokens"], record["new_tokens"], record["time"])
            self._count(self.attempts[name])

    def _count(self, attempt: Attempt, sign: int = 1) -> None:
        self._tokens[0] += sign * attempt.prompt_tokens
        self._tokens[1] += sign * attempt.new_tokens

    def reply(self, call: Call) -> Reply | None:
        """The stored reply to the same request."""
        with self._guard:
            found = self._replies.get(call.key) if call.stored else None
        return None if found is None else from_plain(Reply, found, str(self.path))

    def intend(self, call: Call) -> str:
        """Note that the call is about to be sent. Returns the name of the attempt."""
        name = secrets.token_hex(6)
        self._write({"attempt": name, **to_plain(Attempt(call.prompt_tokens, call.new_tokens, round(time.time(), 3)))})
        return name

    def answer(self, attempt: str, call: Call, reply: Reply) -> None:
        """Store the reply to an attempt."""
        self._write({"attempt": attempt, "key": call.key if call.stored else None, "reply": to_plain(reply)})

    def release(self, attempt: str) -> None:
        """Note that an attempt was not billed: the server refused it, or was not reached."""
        self._write({"attempt": attempt, "unbilled": True})

    def _write(self, record: Plain) -> None:
        line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        with self._guard:
            self._stream.write(line)
            self._stream.flush()
            os.fsync(self._stream.fileno())
            self._take(record)

    @property
    def answered(self) -> int:
        """The number of stored replies."""
        return len(self._replies)

    def tokens(self) -> tuple[int, int]:
        """Prompt tokens and new tokens of all attempts; of those without a reply the worst case."""
        with self._guard:
            return self._tokens[0], self._tokens[1]
