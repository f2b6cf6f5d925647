"""Starts the processes that do one piece of work on several devices, and watches them.

    python -m stepladder.distributed.launch FOLDER NODE        starts all processes of one node of several

Each process runs the module `WORKER` and exchanges files with the process that started it (`distributed/channel.py`).
So a study, a tracker and a person deal with one process. No worker outlives the process that started it.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from stepladder.distributed import topology
from stepladder.distributed.channel import Channel
from stepladder.errors import ConfigError, Fault, RankError
from stepladder.io.redaction import mask_tracebacks
from stepladder.resources import Devices, Resources
from stepladder.types import Plain

WORKER = "stepladder.runs.worker"
"""The module of one process: `python -m WORKER FOLDER`."""

SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_TO_TELL = 2.0
"""So long others are waited for when one ends: the first to be seen need not be the first that failed."""

SECONDS_OF_SILENCE = 60.0
"""After which another node takes it that nobody wants its part any more."""

SECONDS_TO_LEAVE = 10.0

GOES_ON = "see whether memory ran out; the same command goes on from the last checkpoint"


def launch(folder: Path, request: Plain, resources: Resources) -> dict[str, Any]:
    """Have worker processes on `resources.devices` do what `request` (JSON) says, and wait for them.

    Args:
        folder: The fit's folder, which all processes see. Its configuration is there already.
        request: What each worker reads from the channel.

    Returns:
        The facts that rank 0 has sent.

    Raises:
        RankError: A process was lost.
        Exception: What a process raised, as if it had been raised here.
    """
    channel, devices = Channel(folder), resources.devices
    channel.open({**request, "devices": asdict(devices), "micro_batch": resources.micro_batch})
    workers: Workers = _Job(channel, devices) if devices.slurm is not None else _Processes(channel, devices, 0)
    try:
        if devices.slurm is None and devices.nodes > 1:
            topology.order(str(folder))
        facts = _watched(channel, workers, resources)
    finally:
        channel.end()
        workers.end()
    if devices.slurm is None:
        channel.wait_for_left(range(1, devices.nodes), SECONDS_TO_LEAVE)
    channel.close()
    return facts


class Workers(Protocol):
    def look(self) -> bool:
        """Whether all have ended; one that was lost is noted in the channel."""
        ...

    def end(self) -> None: ...


def _watched(channel: Channel, workers: Workers, resources: Resources) -> dict[str, Any]:
    failed: float | None = None
    while True:
        channel.beat()
        ended = workers.look()
        channel.hand_on(resources)
        fault = channel.fault()
        if fault is not None:
            failed = failed or time.monotonic()
            if ended or time.monotonic() - failed > SECONDS_TO_TELL:
                raise fault
        elif ended:
            facts = channel.facts
            if facts is None:
                raise RankError("The fit ended without a result", str(channel.folder), GOES_ON)
            return facts
        time.sleep(SECONDS_BETWEEN_LOOKS)


class _Processes:
    """The processes of one node, children of this one: each ends when this one does, by its stdin."""

    def __init__(self, channel: Channel, devices: Devices, node: int) -> None:
        self.channel, self.count, self.running = channel, devices.count, {}
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", WORKER, str(channel.fit)]
        for local in range(devices.devices):
            rank = node * devices.devices + local
            own = {"RANK": rank, "LOCAL_RANK": local, "NODE_RANK": node, "WORLD_SIZE": devices.count}
            with channel.log(rank).open("ab") as log:
                self.running[rank] = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, **_threads(devices.devices), **{name: str(n) for name, n in own.items()}},
                )  # fmt: skip

    def look(self) -> bool:
        codes = {rank: process.poll() for rank, process in self.running.items()}
        for rank, code in codes.items():
            if code and not self.channel.has_failed(rank):
                self.channel.fail(rank, self._lost(rank, code))
        return all(code is not None for code in codes.values())

    def _lost(self, rank: int, code: int) -> RankError:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = self.channel.log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        shown = "".join(f"\n  {line}" for line in (lines[-5:] if code > 0 else lines[:5]))  # of a crash, where it began
        return RankError(f"Rank {rank} of {self.count} {how}{shown}", str(self.channel.fit), GOES_ON)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.communicate()


def _threads(processes: int) -> dict[str, str]:
    """The threads that this process has, for so many."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    have = int(given) if given.isdecimal() else len(os.sched_getaffinity(0))
    each = str(max(1, have // processes))
    return {"OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each}


class _Job:
    """A job of Slurm: on each of its nodes one task, which starts that node's processes."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        asked = dict(devices.slurm or {})
        executor = submitit().AutoExecutor(folder=channel.folder / "slurm", cluster=asked.pop("cluster", None))
        gpus = {"gpus_per_node": devices.devices} if devices.accelerator != "cpu" else {}
        executor.update_parameters(**{"nodes": devices.nodes, "tasks_per_node": 1, **gpus, **asked})
        self.channel, self.job = channel, executor.submit(_serve_here, str(channel.fit))

    def look(self) -> bool:
        if not self.job.done():
            return False
        if self.channel.facts is None and self.channel.fault() is None:
            what = f"The job {self.job.job_id} of Slurm ended: {self.job.state}"
            self.channel.fail(0, RankError(what, str(self.channel.fit), GOES_ON))
        return True

    def end(self) -> None:
        if not self.job.done():
            self.job.cancel()


def submitit() -> Any:
    try:
        return importlib.import_module("submitit")
    except ImportError as error:
        what = "submitit, which asks Slurm for jobs, is not installed"
        to_do = "pip install 'stepladder[slurm]'; or start the command by srun, with compute=ddp"
        raise ConfigError(Fault("compute.slurm", what, to_do)) from error


def _serve_here(folder: str) -> None:
    """A task of a job of Slurm."""
    serve(Path(folder), int(os.environ.get("SLURM_NODEID", "0")))


def serve(folder: Path, node: int) -> None:
    """Have one node's processes make their part of a fit, until it is made or nobody wants it any more."""
    channel = Channel(folder)
    workers = _Processes(channel, Devices(**channel.asked["devices"]), node)
    beat, heard = channel.last_beat, time.monotonic()
    try:
        while not workers.look() and not channel.over and time.monotonic() - heard < SECONDS_OF_SILENCE:
            if channel.last_beat != beat:
                beat, heard = channel.last_beat, time.monotonic()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        workers.end()
        channel.leave(node)


def follow(here: topology.Place, computes: bool) -> int:
    """What a process does that does not lead; its exit code."""
    if here.local == 0 and computes:
        for folder in topology.orders():
            serve(Path(folder), here.node)
    else:
        whose = f"process {here.local} of node {here.node}"
        print(f"{whose}: the first process of a node starts the others itself; nothing to do", file=sys.stderr)
    return 0


if __name__ == "__main__":
    mask_tracebacks()
    serve(Path(sys.argv[1]), int(sys.argv[2]))
