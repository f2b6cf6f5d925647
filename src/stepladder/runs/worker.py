"""One of the processes that make a fit together, one for each device: `python -m stepladder.runs.worker FOLDER`.

RANK, LOCAL_RANK and WORLD_SIZE in the environment say which one this is. All read the same config and the same rows;
rank 0 writes and saves. Does not import Hydra.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from threading import Thread

from stepladder.config.experiment import Experiment
from stepladder.distributed.channel import Channel, Sender
from stepladder.errors import DataError
from stepladder.io.redaction import mask_tracebacks
from stepladder.resources import Devices, Resources, Silent
from stepladder.runs import stages
from stepladder.store.store import read_mapping
from stepladder.types import PreflightLimits


def work(folder: Path) -> None:
    """Make this process's part of the fit in `folder`. An error is sent and raised."""
    Thread(target=_end_with_stdin, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this one decides
    channel, rank = Channel(folder), int(os.environ["RANK"])
    try:
        _work(folder, channel, rank)
    except Exception as error:
        channel.fail(rank, error)
        raise


def _work(folder: Path, channel: Channel, rank: int) -> None:
    from stepladder.distributed.collectives import join, leave

    asked = channel.asked
    devices = Devices(**{**asked["devices"], "slurm": None})  # the job is there, with what was asked for
    config = folder / "config.yaml"
    prepared = stages.prepare(Experiment.from_stored(read_mapping(config), str(config)), asked["trust"])
    if prepared.fit_form.key != asked["key"]:
        what = "The data are not what they were when the fit began"
        raise DataError(what, "dataset", "let them stay as they are, and run again")
    join(channel.folder / "rendezvous.json", rank, devices, int(os.environ["LOCAL_RANK"]))
    sender = Sender(channel)
    resources = Resources(
        shared=Path(asked["shared"]) if asked["shared"] else None,
        devices=devices,
        rank=rank,
        micro_batch=asked["micro_batch"],
        limits=PreflightLimits(**asked["limits"]),
        tracker=Silent() if rank else sender,
        progress=Silent() if rank else sender,
        on_validation=sender.on_validation if asked["asks"] and not rank else None,
    )
    facts = stages.fit(prepared, folder, resources)
    if resources.leads:
        channel.made(facts)
    leave()


def _end_with_stdin() -> None:
    """Whoever started this process holds the other end, and lets go of it only by ending, however that comes about."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    mask_tracebacks()
    work(Path(sys.argv[1]))
