"""Shows on stderr how a training goes, from its first step: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from pytorch_lightning import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from stepladder.resources import Resources, Silent

SECONDS_BETWEEN_NOTES = 30.0


class TrainingProgress(Callback):  # type: ignore[misc]
    """Loss, tokens per second and time left of a training of `total` steps."""

    def __init__(self, resources: Resources, total: int) -> None:
        self.resources, self.total = resources, total
        self.began = time.perf_counter()
        self.noted: float | None = None
        self.first_step = 1
        self.bar: Progress | None = None
        if sys.stderr.isatty() and not isinstance(resources.progress, Silent):
            columns = (TextColumn("training"), BarColumn(bar_width=8), MofNCompleteColumn())
            self.bar = Progress(
                *columns, TextColumn("{task.fields[told]}"), console=Console(stderr=True), transient=True
            )

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.began, self.first_step = time.perf_counter(), module.step + 1  # an earlier attempt may have made steps
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task("training", total=self.total, completed=module.step, told="first step")

    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        now, step = time.perf_counter(), module.step
        if self.bar is None and self.noted is not None and now - self.noted <= SECONDS_BETWEEN_NOTES:
            return
        facts = self.resources.facts
        speed = facts["training_tokens"] / max(facts["training_seconds"], 1e-9)
        validation = "" if module.validation_loss is None else f" (validation {module.validation_loss:.2f})"
        left = (now - self.began) / (step - self.first_step + 1) * (self.total - step)
        told = f"loss {module.loss:.2f}{validation} · {speed:,.0f} tokens/s · {left:,.0f} s left"
        if self.bar:
            self.bar.update(self.task, completed=step, told=told)
        else:
            self.noted = now
            self.resources.progress.note(f"training: step {step} of {self.total} · {told}")

    def on_train_end(self, *_: Any) -> None:
        self._stop()

    def on_exception(self, *_: Any) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.bar:
            self.bar.stop()
