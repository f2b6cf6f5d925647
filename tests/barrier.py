"""An optimiser that holds a fit at one step for as long as its process lives, so that a test can end it there.

A test that interrupts or kills a fit names this optimiser in the command (`held`) and the step in the environment of
the process (`environment`). The process writes a file when it gets there and goes no further: the fit cannot be over
before the signal arrives, however slow or busy the machine is. Without the variables it is AdamW.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

FOLDER, STEP, PROCESSES = "BARRIER_FOLDER", "BARRIER_STEP", "BARRIER_PROCESSES"

held = ("training.optimizer=barrier.HeldAdamW", "--trust", "barrier")
"""What a command line needs for this optimiser."""


class HeldAdamW(torch.optim.AdamW):
    """AdamW that, before the step that the environment names, reports its arrival and waits to be killed."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        done = max((int(state["step"]) for state in self.state.values()), default=0)
        if os.environ.get(STEP) == str(done + 1) and len(arrived()) < int(os.environ[PROCESSES]):
            (Path(os.environ[FOLDER]) / str(os.getpid())).touch()
            while True:
                time.sleep(0.05)  # in a loop, so that Ctrl-C is handled
        return super().step(closure)


def environment(folder: Path, step: int, processes: int = 1) -> Mapping[str, str]:
    """Variables under which the first so many processes are held before `step` (the first is 1), noted in `folder`."""
    folder.mkdir()
    return {**os.environ, FOLDER: str(folder), STEP: str(step), PROCESSES: str(processes)}


def arrived(environment: Mapping[str, str] = os.environ) -> list[int]:
    """The ids of the processes that are held, or were until they ended."""
    return [int(file.name) for file in Path(environment[FOLDER]).iterdir()]


def wait_until_held(environment: Mapping[str, str], process: subprocess.Popen[str]) -> list[int]:
    """The ids of the held processes, once all are. Fails the test where the command ends instead."""
    while len(arrived(environment)) < int(environment[PROCESSES]):
        assert process.poll() is None, f"the command ended before it was held: {process.communicate()}"
        time.sleep(0.02)
    return arrived(environment)
