"""What a person sees while a run works: one progress line on stderr, and notes.

Knows rich and the terminal; knows no run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from stepladder.masking import mask

T = TypeVar("T")


class Terminal:
    """A progress for people. Where stderr is no terminal only notes are written."""

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
        print(mask(text), file=sys.stderr, flush=True)
