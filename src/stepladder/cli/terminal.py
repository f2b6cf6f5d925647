"""Terminal output while a command runs: progress bars and notes on stderr, and protection from closed streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
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
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        times = progress.TimeElapsedColumn(), progress.TimeRemainingColumn()
        columns = ("{task.description}", progress.BarColumn(), progress.MofNCompleteColumn(), *times)
        with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
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
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self._stream.flush()

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        """Redirect the stream to the null device when its pipe breaks."""
        try:
            yield
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            with suppress(BrokenPipeError):
                self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._stream)
