"""A command that torchrun or srun has started on several nodes: one leads, the others have a part in its fits."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from pathlib import Path

import forked
import pytest
from ranked import DDP, Run, outcome, running

from stepladder.cli.entry import main

NODES = 2
OBJECTIVE = "training.validate_with=objective"  # one asks the model, and tells the others


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra 'slurm' is not installed")
def test_what_jobs_will_do_is_checked_where_no_gpu_is(words: list[str], tmp_path: Path) -> None:
    assert main(["check", *words[1:], "compute=slurm", "--outputs", str(tmp_path)]) == 0


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="the extra 'slurm' is not installed")
def test_a_fit_is_a_job(words: list[str], run: Run, tmp_path: Path) -> None:
    """Of submitit's own kind that runs on this machine."""
    job = ("compute=slurm", "compute.accelerator=cpu", "compute.devices=2", "+compute.slurm.cluster=local")
    assert main([*words, *job, "--outputs", str(tmp_path)]) == 0
    for ours, theirs in zip(outcome(tmp_path)["lines"], run()["lines"], strict=True):
        assert ours.get("loss", 0) == pytest.approx(theirs.get("loss", 0), abs=1e-4)


@pytest.mark.slow
def test_two_nodes_learn_what_one_process_learns(words: list[str], run: Run, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *words, *DDP, OBJECTIVE, "compute.devices=1", f"compute.nodes={NODES}", "--outputs", str(tmp_path / "shared"),
        "--json",
    ]  # fmt: skip
    shared = {"WORLD_SIZE": NODES, "LOCAL_WORLD_SIZE": 1, "GROUP_WORLD_SIZE": NODES, "LOCAL_RANK": 0}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = []
    for node in reversed(range(NODES)):
        own = {name: str(value) for name, value in {**shared, "RANK": node, "GROUP_RANK": node}.items()}
        nodes.insert(0, forked.begin(command, {**os.environ, **own}))
    told = [node.communicate() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    assert json.loads(told[0][0])["reused"]["fit"] is False
    assert told[1][0] == ""
    assert running(tmp_path) == {}
    one, two = run(OBJECTIVE), outcome(tmp_path / "shared")
    assert two["key"] == one["key"]
    assert two["names"] == one["names"]
    for ours, theirs in zip(two["lines"], one["lines"], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("step", "loss", "validation_loss", "accuracy"):
            assert ours.get(name, 0) == pytest.approx(theirs.get(name, 0), abs=1e-4)
