"""What the tests of several devices share: words of the command, and what a store has of its one fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DDP = ("compute=ddp", "compute.accelerator=cpu")
FSDP = ("compute=fsdp", "compute.accelerator=cpu")
LABELS = ("on", "the second label", "a third one that is long")

Run = Callable[..., dict[str, Any]]


def outcome(outputs: Path) -> dict[str, Any]:
    """What a store with one fit has of it."""
    (folder,) = (outputs / "fits").iterdir()
    done = json.loads((folder / "done.json").read_text(encoding="utf-8"))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {"folder": folder, "key": done["key"], "lines": lines, "facts": done["facts"], "names": names}


def running(outputs: Path) -> dict[int, int]:
    """The processes of fits in a store, by rank."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode().split("\0")
            told = (process / "environ").read_bytes().decode().split("\0")
        except OSError:  # gone, or another user's
            continue
        if "stepladder.runs.launch" in command and any(word.startswith(f"{outputs}/") for word in command):
            found[next(int(word.removeprefix("RANK=")) for word in told if word.startswith("RANK="))] = int(
                process.name
            )
    return found
