"""Offline W&B runs, read back with the client's own reader."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def runs(folder: Path) -> list[dict[str, Any]]:
    """Of every run: group, job_type, config, the last summary, and how many lines its history has."""
    return [_read(run) for run in sorted(folder.glob("offline-run-*"))]


def _read(run: Path) -> dict[str, Any]:
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
    done = subprocess.run(inspect, capture_output=True, text=True, check=True)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    (about,) = [record["run"] for record in records if record["type"] == "run"]
    summary: dict[str, Any] = {}
    for record in records:
        if record["type"] == "summary":
            summary |= record["summary"]["update"]
    return {
        "group": about["run_group"],
        "job_type": about["job_type"],
        "config": about["config"]["update"],
        "summary": summary,
        "steps": sum(record["type"] == "history" for record in records),
    }
