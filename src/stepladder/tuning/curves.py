"""Metrics of a training: metrics.jsonl, the tracker's curves, and figures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stepladder.io.files import write_text
from stepladder.resources import Resources
from stepladder.types import Plain

ASIDE = ("step", "seconds")
"""Of a line of metrics.jsonl, what is not part of a tracker's curves of a validation."""

OWN = frozenset({"step", "loss", "tokens", "seconds", "learning_rate", "validation_loss"})
"""Names in metrics.jsonl that a callback's own metrics cannot have."""


def shown(line: Plain) -> tuple[dict[str, float], int]:
    """What a tracker shows of a line of metrics.jsonl: the values, and the step."""
    if "tokens" not in line:
        return {name: value for name, value in line.items() if name not in ASIDE}, line["step"]
    values = {name: value for name, value in line.items() if name != "step"}
    speed = {"tokens_per_second": line["tokens"] / line["seconds"]} if line["seconds"] else {}
    return {**values, **speed}, line["step"]


class Curves:
    """Writes a line for every step and every validation as it comes, and keeps the sums."""

    def __init__(self, resources: Resources, before: str = "") -> None:
        """
        Args:
            resources: Where the lines go: the fit's folder, and the tracker.
            before: The lines of an earlier attempt that this one resumes. Lines that it wrote later are dropped. A
                tracker is shown them all, so that its curve begins at step 1.
        """
        self.tracker, self.report = resources.tracker, resources.report
        self.path: Path | None = resources.folder / "metrics.jsonl" if resources.folder and resources.leads else None
        self._lines = [before]
        if self.path:
            write_text(self.path, before)
        for line in map(json.loads, before.splitlines()):
            self.tracker.log(*shown(line))
        self.report.record({"steps": 0, "training_tokens": 0, "training_seconds": 0.0})

    @property
    def text(self) -> str:
        """All lines so far."""
        return "".join(self._lines)

    def validations(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Step and values of every validation so far, with the training tokens by then."""
        tokens = 0
        for line in map(json.loads, self.text.splitlines()):
            tokens += line.get("tokens", 0)
            if "validation_loss" in line:
                values = {name: value for name, value in line.items() if name not in ("step", "seconds")}
                yield line["step"], {**values, "training_tokens": tokens}

    def step(self, step: int, loss: float, tokens: int, seconds: float, learning_rate: float) -> None:
        so_far = self.report.figures
        self.report.record(
            {
                "steps": step,
                "training_tokens": so_far["training_tokens"] + tokens,
                "training_seconds": so_far["training_seconds"] + seconds,
            }
        )
        values = {"loss": loss, "tokens": tokens, "seconds": round(seconds, 6), "learning_rate": learning_rate}
        self._line(step, values)

    def validation(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        self._line(step, {**values, "seconds": round(seconds, 6)})

    def of_callback(self, step: int, values: Mapping[str, float]) -> None:
        """Metrics that a callback logs."""
        self._line(step, {f"callback/{name}" if name in OWN else name: value for name, value in values.items()})

    def _line(self, step: int, values: dict[str, Any]) -> None:
        line = {"step": step, **values}
        self._lines.append(json.dumps(line) + "\n")
        self.tracker.log(*shown(line))
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(self._lines[-1])
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error
