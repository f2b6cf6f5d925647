"""Devices that are not there, what several can not do, and who does what where several processes were started."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ranked import DDP, FSDP

from stepladder.cli.entry import main
from stepladder.distributed.channel import Channel, Sender
from stepladder.distributed.topology import Place, place
from stepladder.errors import ConfigError, DataError, Fault, RankError
from stepladder.resources import Devices, Resources, Silent

GPU = ("compute=ddp", "compute.accelerator=gpu")


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        (["compute.devices=2"], ["compute.strategy", "compute=ddp or compute=fsdp"]),
        ([*GPU, "compute.devices=99"], ["compute.devices", "99 devices are asked for", "GPUs"]),
        ([*DDP, "compute.devices=9999"], ["compute.devices", "9999 devices are asked for", "cores"]),
        ([*DDP, "compute.nodes=2"], ["compute.nodes", "2 nodes are asked for", "torchrun or srun"]),
        ([*FSDP, "training.validate_with=objective"], ["training.validate_with", "compute=ddp"]),
        ([*DDP, "adapter=qlora"], ["adapter", "four bits", "one device"]),
    ],
)
@pytest.mark.parametrize("verb", ["run", "check"])
def test_what_can_not_be_is_told_before_the_first_folder(
    verb: str,
    asked: list[str],
    wanted: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([verb, *words[1:], *asked, "--outputs", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert all(word in told for word in wanted), told
    assert "Traceback" not in told
    assert not list(tmp_path.glob("fits/*"))


def test_slurm_needs_submitit(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)  # as where it is not installed
    assert main([*words, "compute=slurm", "--outputs", str(tmp_path)]) == 2
    assert "pip install 'stepladder[slurm]'" in capsys.readouterr().err


@pytest.mark.parametrize("asked", [GPU, ("compute=one_gpu",)])
def test_what_learns_nothing_needs_one_device(asked: Sequence[str], words: list[str], tmp_path: Path) -> None:
    assert main([*words, *asked, "method=majority", "--outputs", str(tmp_path)]) == 0


def test_a_gpu_that_is_not_there_is_no_cpu(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    options = [*words[1:], "method=zero_shot", "dataset.limit=4", "--outputs", str(tmp_path)]
    for verb in ("check", "run"):
        assert main([verb, *options, "compute=one_gpu"]) == 2
        told = capsys.readouterr().err
        assert all(word in told for word in ("compute.accelerator", "a GPU is requested", "compute=auto")), told
    assert not list(tmp_path.glob("fits/*"))
    # A stored fit, as on a machine to which a store was copied: what is still to be predicted needs the GPU too.
    assert main(["run", *options, "compute=cpu"]) == 0
    assert main(["run", *options, "compute=one_gpu", "decoding.probabilities=best"]) == 2
    assert "a GPU is requested" in capsys.readouterr().err


def test_who_asks_slurm_for_gpus_needs_none() -> None:
    slurm = Devices("gpu", 2, slurm={"timeout_min": 1})
    for devices in (slurm, slurm.alone):
        assert devices.torch_device() == ("cuda" if torch.cuda.is_available() else "cpu")


TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"}
SRUN = {"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Place(0, 1, 0, "")),
        ({**TORCHRUN, "LOCAL_RANK": "1", "GROUP_RANK": "1"}, Place(1, 2, 1, "torchrun")),
        ({**TORCHRUN, "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}, Place(0, 2, 0, "torchrun")),
        ({"RANK": "1", "WORLD_SIZE": "2"}, Place(0, 1, 1, "torchrun")),
        ({**SRUN, "SLURM_LOCALID": "1", "SLURM_NODEID": "1"}, Place(1, 2, 1, "srun")),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, Place(0, 1, 0, "")),  # the script of a job, begun once
    ],
)
def test_where_a_process_stands(environment: dict[str, str], wanted: Place) -> None:
    assert place(environment) == wanted


def test_of_the_processes_of_a_node_one_does_the_work(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main([*words, "--outputs", str(tmp_path / "none"), "--json"]) == 0
    told = capsys.readouterr()
    assert told.out == ""
    assert "process 1 of node 0" in told.err
    assert not (tmp_path / "none").exists()


def test_of_several_faults_the_cause_is_told(tmp_path: Path) -> None:
    channel = Channel(tmp_path)
    channel.open({})
    assert channel.fault() is None
    channel.fail(0, RuntimeError("Connection closed by peer"))
    assert "Connection closed by peer" in str(channel.fault())
    channel.fail(1, RankError("Rank 1 was killed", "here", "again", 4))
    lost = channel.fault()
    assert isinstance(lost, RankError)
    assert (lost.what, lost.rows) == ("Rank 1 was killed", 4)
    channel.fail(2, OSError(28, "No space left on device", "a/file"))
    full = channel.fault()
    assert isinstance(full, OSError)
    assert (full.errno, full.filename) == (28, "a/file")
    time.sleep(0.01)
    channel.fail(3, ConfigError([Fault("a", "b", "c"), Fault("d", "e")]))
    channel.fail(2, DataError("what", "where", "to do"))
    first = channel.fault()
    assert isinstance(first, ConfigError)
    assert first.faults == (Fault("a", "b", "c"), Fault("d", "e"))


def test_what_is_told_comes_through_once(tmp_path: Path) -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    channel, heard = Channel(tmp_path), Heard()
    channel.open({})
    sender = Sender(channel)
    steps: list[int] = []
    resources = Resources(progress=heard, on_validation=lambda step, values: bool(steps.append(step)))
    sender.note("one")
    channel.hand_on(resources)
    with (channel.folder / "messages.jsonl").open("a") as stream:
        stream.write('{"note": "ha')  # not yet whole
    channel.hand_on(resources)
    with (channel.folder / "messages.jsonl").open("a") as stream:
        stream.write('lf"}\n{"validation": {"validation_loss": 1.5}, "step": 7}\n')
    channel.hand_on(resources)
    channel.hand_on(resources)
    assert (heard.notes, steps, channel.answers()) == (["one", "half"], [7], [False])


def test_devices_are_counted_over_nodes() -> None:
    assert Devices(devices=4, nodes=2).count == 8
    assert Devices("cpu", 4, 2, "ddp").alone == Devices("cpu")
