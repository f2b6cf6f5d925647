"""Shows a person how training goes, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from pytorch_lightning import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from stepladder.resources import Resources, Silent

SECONDS_BETWEEN_NOTES = 30.0


class TrainingProgress(Callback):  # type: ignore[misc]
    """Loss, tokens a second and time left of a training of `total` steps."""

    def __init__(self, resources: Resources, total: int, first: int = 0) -> None:
        """
        Args:
            resources: Says whether to show anything, and takes the notes.
            total: Steps of the whole training.
            first: Steps that an earlier attempt has made.
        """
        self.resources, self.total, self.first = resources, total, first
        self.began = self.noted = time.perf_counter()
        self.bar: Progress | None = None
        if sys.stderr.isatty() and not isinstance(resources.progress, Silent):
            columns = (BarColumn(bar_width=8), MofNCompleteColumn(), TextColumn("{task.fields[status]}"))
            left = (TimeRemainingColumn(), TextColumn("left"))
            self.bar = Progress(TextColumn("training"), *columns, *left, console=Console(stderr=True), transient=True)

    def on_train_start(self, *_: Any) -> None:
        self.began = self.noted = time.perf_counter()
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("training", total=self.total, completed=self.first, status="first step")

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        facts, step = self.resources.report.figures, module.step
        speed = facts["training_tokens"] / max(facts["training_seconds"], 1e-9)
        validation = "" if module.validation_loss is None else f" (validation {module.validation_loss:.2f})"
        status = f"loss {module.loss:.2f}{validation} · {speed:,.0f} tokens/s"
        if self.bar:
            self.bar.update(self.task, completed=step, status=status)
            return
        now, made = time.perf_counter(), step - self.first
        left = (now - self.began) / made * (self.total - step)
        if made == 1 or now - self.noted > SECONDS_BETWEEN_NOTES:
            self.noted = now
            self.resources.progress.note(f"training: step {step} of {self.total} · {status} · {left:,.0f} s left")

    def on_train_end(self, *_: Any) -> None:
        self._stop()

    def on_exception(self, *_: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
