"""Terminal output while a command runs: progress bars and notes on stderr, and protection from closed streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, TextIO, TypeVar, cast

from stepladder.io.redaction import mask

T = TypeVar("T")

FACTS = ("note: ", "preflight: ")
"""Prefixes of notes about data or configuration. A command prints each such note once."""


class Terminal:
    """Progress bars and notes on stderr. Without a terminal only notes are printed."""

    def __init__(self) -> None:
        self._printed: set[str] = set()

    def track(self, items: Iterable[T], total: int, what: str) -> Iterator[T]:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task(what, total=total)
            for item in items:
                yield item
                bar.advance(task)

    def note(self, text: str) -> None:
        """Print a line, unless this command has already printed the same note about data or configuration."""
        if text.startswith(FACTS):
            if text in self._printed:
                return
            self._printed.add(text)
        print(mask(text), file=sys.stderr, flush=True)


def guard_streams() -> None:
    """Make closed standard streams, and a broken stdout or stderr, harmless.

    A closed stream is opened on the null device, so that no other file gets its number. If the reader of a pipe ends
    (`stepladder list | head -1`), the rest of the output is dropped and the command continues.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name) or os.fdopen(number, "w", encoding="utf-8", closefd=False)
        setattr(sys, name, cast(TextIO, Unbreakable(stream)))


class Unbreakable:
    """A text stream whose output is dropped after its reader has ended."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._dropping():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    def _dropping(self) -> _Dropping:
        return _Dropping(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)


class _Dropping:
    """Redirects a stream to the null device when its pipe breaks."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if kind is None or not issubclass(kind, BrokenPipeError):
            return False
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with suppress(BrokenPipeError):
            self._stream.flush()
        return True
