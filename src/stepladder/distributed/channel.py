"""Messages between the processes of a fit and the process that started them, as files of the fit's folder.

Files work on one machine and across machines that share a store.
"""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stepladder import errors
from stepladder.errors import ConfigError, Fault, RankError, StepladderError
from stepladder.io.files import discard, read_json, read_lines, write_text
from stepladder.io.redaction import mask
from stepladder.resources import Resources, Silent
from stepladder.types import Plain

SECONDS_BETWEEN_LOOKS = 0.02


class Channel:
    """The folder `launch` in a fit's folder."""

    def __init__(self, fit: Path) -> None:
        self.fit, self.folder = fit, fit / "launch"
        self._read, self._beaten = 0, -math.inf

    def open(self, asked: Plain) -> None:
        """Start again, with the request to the processes."""
        self.close()
        write_text(self.folder / "asked.json", json.dumps(asked))

    def close(self) -> None:
        discard(self.folder)

    @property
    def asked(self) -> dict[str, Any]:
        return read_json(self.folder / "asked.json") or {}

    @property
    def facts(self) -> dict[str, Any] | None:
        """The facts of the fit, once it is made."""
        return read_json(self.folder / "facts.json")

    def made(self, facts: Plain) -> None:
        write_text(self.folder / "facts.json", json.dumps(facts))

    @property
    def over(self) -> bool:
        """Whether whoever started the processes wants nothing more of them."""
        return not (self.folder / "asked.json").exists() or (self.folder / "over").exists()

    def end(self) -> None:
        if self.folder.exists():
            (self.folder / "over").touch()

    def beat(self) -> None:
        """Show other nodes that somebody waits for them."""
        if time.monotonic() - self._beaten >= 1.0:
            self._beaten = time.monotonic()
            (self.folder / "alive").touch()

    @property
    def last_beat(self) -> int:
        """As the store's clock has it."""
        alive = self.folder / "alive"
        return alive.stat().st_mtime_ns if alive.exists() else 0

    def leave(self, node: int) -> None:
        """Note that nothing of the fit runs on a node any more."""
        if self.folder.exists():
            (self.folder / f"left-{node}").touch()

    def wait_for_left(self, nodes: Iterable[int], seconds: float) -> None:
        """Until all of these have left: a folder that is written to can not be removed from every kind of disk."""
        until = time.monotonic() + seconds
        while any(not (self.folder / f"left-{node}").exists() for node in nodes) and time.monotonic() < until:
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def log(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.log"

    def fail(self, rank: int, error: Exception) -> None:
        """Note why a process ends."""
        fault: dict[str, Any] = {"rank": rank, "time": time.time(), "kind": type(error).__name__}
        fault["traceback"] = mask("".join(traceback.format_exception(error)))
        names = ("what", "where", "to_do", "rows", "errno", "strerror", "filename")
        fault |= {name: getattr(error, name) for name in names if hasattr(error, name)}
        if isinstance(error, ConfigError):
            fault["faults"] = [[each.key, each.what, each.to_do] for each in error.faults]
        write_text(self._fault(rank), json.dumps(fault, default=str))

    def has_failed(self, rank: int) -> bool:
        return self._fault(rank).exists()

    def _fault(self, rank: int) -> Path:
        return self.folder / f"fault-{rank}.json"

    def fault(self) -> Exception | None:
        """Why the processes ended: an error of ours, else a lost process, else the first failure.

        When one process ends, others often fail because they wait for it.
        """
        found = [fault for file in self.folder.glob("fault-*.json") if (fault := read_json(file)) is not None]
        ranked = sorted(((_error(fault), fault) for fault in found), key=lambda pair: _weight(*pair))
        return ranked[0][0] if ranked else None

    def answers(self) -> list[bool]:
        file = self.folder / "answers.jsonl"
        return [bool(line["stop"]) for line in read_lines(file)] if file.exists() else []

    def hand_on(self, resources: Resources) -> None:
        """Pass on what rank 0 has sent since, and answer its questions."""
        for line in self._lines():
            if "note" in line:
                resources.progress.note(line["note"])
            elif "log" in line:
                resources.tracker.log(line["log"], line["step"])
            elif resources.on_validation is not None:
                stop = resources.on_validation(line["step"], line["validation"])
                _append(self.folder / "answers.jsonl", {"stop": bool(stop)})

    def _lines(self) -> Iterator[dict[str, Any]]:
        file = self.folder / "messages.jsonl"
        if not file.exists():
            return
        with file.open("rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._read += len(line)
                yield json.loads(line)


class Sender(Silent):
    """What the first process shows and asks: the tracker, the progress and `on_validation` of its fit."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.asked = channel, 0

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._send({"log": dict(values), "step": step})

    def note(self, text: str) -> None:
        self._send({"note": text})

    def on_validation(self, step: int, values: Mapping[str, float]) -> bool:
        self._send({"validation": dict(values), "step": step})
        self.asked += 1
        while len(answers := self.channel.answers()) < self.asked:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        return answers[self.asked - 1]

    def _send(self, message: Plain) -> None:
        _append(self.channel.folder / "messages.jsonl", message)


def _append(file: Path, message: Plain) -> None:
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(message) + "\n")


def _error(fault: Plain) -> Exception:
    """The error of a process, as if it had been raised here."""
    kind: Any = getattr(errors, str(fault["kind"]), None)
    if kind is ConfigError:
        return ConfigError([Fault(*each) for each in fault["faults"]])
    if kind is RankError:
        return RankError(fault["what"], fault["where"], fault["to_do"], fault["rows"])
    if isinstance(kind, type) and issubclass(kind, StepladderError):
        error: Exception = kind(fault["what"], fault["where"], fault["to_do"])
        return error
    if "errno" in fault and fault["errno"] is not None:
        return OSError(fault["errno"], fault["strerror"], fault.get("filename"))
    return RuntimeError(f"rank {fault['rank']} failed:\n{fault['traceback']}")


def _weight(error: Exception, fault: Plain) -> tuple[int, float]:
    lost = isinstance(error, RankError)
    return (1 if lost else 0 if isinstance(error, StepladderError | OSError) else 2), fault["time"]
