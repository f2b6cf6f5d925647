"""What a training leaves behind of itself: metrics.jsonl, the tracker's curves, the facts. Knows numbers only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepladder.files import read_lines, write_lines
from stepladder.resources import Resources


class Curves:
    """Writes a line for every step and every validation as it comes, and keeps the sums."""

    def __init__(self, resources: Resources, after: int = 0) -> None:
        """What was written of steps up to `after` stays."""
        self.tracker, self.facts = resources.tracker, resources.facts
        self.path: Path | None = resources.folder / "metrics.jsonl" if resources.folder else None
        self.before: list[dict[str, Any]] = []
        if self.path:
            self.before = [line for line in read_lines(self.path) if line["step"] <= after] if after else []
            write_lines(self.path, self.before)
        self.facts |= {"steps": 0, "training_tokens": 0, "training_seconds": 0.0}

    def step(self, step: int, loss: float, tokens: int, seconds: float, learning_rate: float) -> None:
        self.facts["steps"] = step
        self.facts["training_tokens"] += tokens
        self.facts["training_seconds"] += seconds
        values = {"loss": loss, "tokens": tokens, "seconds": round(seconds, 6), "learning_rate": learning_rate}
        self._line(step, values)
        self.tracker.log({**values, "tokens_per_second": tokens / seconds}, step)

    def validation(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        self._line(step, {**values, "seconds": round(seconds, 6)})
        self.tracker.log(values, step)

    def _line(self, step: int, values: dict[str, Any]) -> None:
        if self.path:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"step": step, **values}) + "\n")
