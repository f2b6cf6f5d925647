"""Where a fit is made: in this process, or over several devices in processes of its own, which this one watches.

    python -m stepladder.runs.launch FOLDER             one of these processes (`runs/rank.py`)
    python -m stepladder.runs.launch FOLDER NODE        all of them that belong on one node of several

The store is the channel (`runs/channel.py`). What is asked of a study, a tracker or a person is asked here, so both the
devices and the study see one fit. No process of a fit outlives the one that started it.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from stepladder.errors import ConfigError, Fault, RankError
from stepladder.masking import mask_tracebacks
from stepladder.resources import Devices, Resources
from stepladder.runs import places, stages
from stepladder.runs.channel import Channel
from stepladder.runs.stages import Prepared

SECONDS_BETWEEN_LOOKS = 0.05
SECONDS_TO_TELL = 2.0
"""So long others are waited for when one ends: the first to be seen need not be the first that failed."""

SECONDS_OF_SILENCE = 60.0
"""After which another node takes it that nobody wants its part any more."""

SECONDS_TO_LEAVE = 10.0

GOES_ON = "see whether memory ran out; the same command goes on from the last checkpoint"


def fit(prepared: Prepared, folder: Path, resources: Resources, trust: Sequence[str] = ()) -> dict[str, Any]:
    """Fit the method and save it under `folder`/artefact. Returns the facts of the fit.

    Raises what a process of the fit raised, or RankError where one was lost; none runs any more then.
    """
    stages.begin(prepared, folder, resources)
    if not over_several(prepared, resources.devices):
        return stages.fit(prepared, folder, replace(resources, devices=resources.devices.alone))
    resources = _heard_once(resources)
    halved: dict[str, int] = {}
    while True:
        try:
            return {**_launched(prepared, folder, resources, trust), **halved}
        except RankError as error:
            if error.rows is None or error.rows == 1:
                raise
            halved = {"rows_at_once": error.rows // 2}
            resources.progress.note(
                f"out of memory: from here on at most {error.rows // 2:,} rows at once; batch size and loss stay"
            )
            resources = replace(resources, micro_batch=error.rows // 2)


def over_several(prepared: Prepared, devices: Devices) -> bool:
    """Whether a fit is made in processes of its own."""
    return getattr(prepared.method.object, "tunes", False) and (devices.count > 1 or devices.slurm is not None)


def check(prepared: Prepared, devices: Devices) -> None:
    """Raises ConfigError for devices that are not there, and for what can not be done on several."""
    if not over_several(prepared, devices):
        if devices.accelerator == "gpu" and hasattr(prepared.method.object, "model"):  # or torch is loaded for nothing
            devices.torch_device()
        return
    tuning: Any = getattr(prepared.method.object, "tuning", None)
    if hasattr(tuning, "check_devices"):
        tuning.check_devices(devices)
    if devices.slurm is not None:
        _submitit()
        return
    import torch

    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    on_gpu = devices.accelerator == "gpu" or (devices.accelerator == "auto" and gpus > 0)
    there = gpus if on_gpu else max(2, cores)
    if devices.devices > there:
        found = f"{gpus} GPUs" if on_gpu else f"{cores} cores"
        what = f"{devices.devices} devices are asked for, and this machine has {found}"
        more = ", or compute.accelerator=cpu" if on_gpu else ""
        raise ConfigError(Fault("compute.devices", what, f"say compute.devices={max(1, there)}{more}"))
    here = places.place()
    if here.nodes != devices.nodes:
        what = f"{devices.nodes} nodes are asked for, and the command was started on {here.nodes}"
        to_do = f"say compute.nodes={here.nodes}, or start it on {devices.nodes} nodes by torchrun or srun"
        raise ConfigError(Fault("compute.nodes", what, to_do))


def _heard_once(resources: Resources) -> Resources:
    """With validations that are told again kept from who has heard them."""
    asked, heard = resources.on_validation, {}

    def hear(step: int, values: Mapping[str, float]) -> bool:
        assert asked is not None
        if step not in heard:
            heard[step] = asked(step, values)
        return heard[step]

    return resources if asked is None else replace(resources, on_validation=hear)


def _launched(prepared: Prepared, folder: Path, resources: Resources, trust: Sequence[str]) -> dict[str, Any]:
    channel, devices = Channel(folder), resources.devices
    channel.open(
        {
            "key": prepared.fit_form.key,
            "trust": list(trust),
            "shared": str(resources.shared) if resources.shared else None,
            "devices": asdict(devices),
            "micro_batch": resources.micro_batch,
            "gate": asdict(resources.gate),
            "asks": resources.on_validation is not None,
        }
    )
    workers: Workers = _Job(channel, devices) if devices.slurm is not None else _Processes(channel, devices, 0)
    try:
        if devices.slurm is None and devices.nodes > 1:
            places.order(str(folder))
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
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "stepladder.runs.launch", str(channel.fit)]
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
        said = self.channel.log(rank).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = "".join(f"\n  {line}" for line in (said[-5:] if code > 0 else said[:5]))  # of a crash, where it began
        return RankError(f"Rank {rank} of {self.count} {how}{told}", str(self.channel.fit), GOES_ON)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            process.communicate()


def _threads(processes: int) -> dict[str, str]:
    """The threads that this process has, for so many."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    have = int(told) if told.isdecimal() else len(os.sched_getaffinity(0))
    each = str(max(1, have // processes))
    return {"OMP_NUM_THREADS": each, "MKL_NUM_THREADS": each}


class _Job:
    """A job of Slurm: on each of its nodes one task, which starts that node's processes."""

    def __init__(self, channel: Channel, devices: Devices) -> None:
        asked = dict(devices.slurm or {})
        executor = _submitit().AutoExecutor(folder=channel.folder / "slurm", cluster=asked.pop("cluster", None))
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


def _submitit() -> Any:
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


def follow(here: places.Place, computes: bool) -> int:
    """What a process does that does not lead; its exit code."""
    if here.local == 0 and computes:
        for folder in places.orders():
            serve(Path(folder), here.node)
    else:
        whose = f"process {here.local} of node {here.node}"
        print(f"{whose}: the first process of a node starts the others itself; nothing to do", file=sys.stderr)
    return 0


if __name__ == "__main__":
    mask_tracebacks()
    if len(sys.argv) == 3:
        serve(Path(sys.argv[1]), int(sys.argv[2]))
    else:
        from stepladder.runs.rank import work

        work(Path(sys.argv[1]))
