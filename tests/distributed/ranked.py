"""What the tests of several devices share: words of the command, and what a store has of its one fit."""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

import barrier
import forked
import torch

from stepladder.io.redaction import mask_tracebacks
from stepladder.runs.worker import work

DDP = ("compute=ddp", "compute.accelerator=cpu")
FSDP = ("compute=fsdp", "compute.accelerator=cpu")
SHARDED = (*FSDP, *barrier.held, "adapter=full", "compute.micro_batch=1")
LABELS = ("on", "the second label", "a third one that is long")

Run = Callable[..., dict[str, Any]]


class ForkedRank:
    """Stands for the `subprocess.Popen` of a process of a fit: the same process without the imports (forked.py)."""

    def __init__(self, command: Sequence[str], *, stdout: IO[bytes], env: Mapping[str, str], **_: Any) -> None:
        stdin, self._stdin = forked.server().Pipe(duplex=False)
        arguments = (command[-1], dict(env), stdin, stdout.name)
        self._process = forked.server().Process(target=_rank, args=arguments, daemon=True)
        self._process.start()
        stdin.close()

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def communicate(self) -> None:
        self._stdin.close()
        self._process.join()


def _rank(folder: str, environment: dict[str, str], stdin: Connection, log: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(stdin.fileno(), 0)
    with Path(log).open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    faulthandler.enable()
    mask_tracebacks()
    work(Path(folder))


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
        if "stepladder.runs.worker" in command and any(word.startswith(f"{outputs}/") for word in command):
            found[next(int(word.removeprefix("RANK=")) for word in told if word.startswith("RANK="))] = int(
                process.name
            )
    return found
