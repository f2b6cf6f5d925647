"""The same effective batch teaches the same on one process and on two, whatever lies where."""

from __future__ import annotations

from pathlib import Path

import peft
import pytest
import torch
from ranked import DDP, FSDP, SHARDED, Run
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from stepladder.models.toy import ToyCheckpoint

NEAR = 1e-4


@pytest.mark.parametrize(
    ("several", "more"),
    [
        (DDP, ()),
        (DDP, ("adapter=full", "compute.micro_batch=1")),
        (FSDP, ("compute.micro_batch=1",)),
        (FSDP, SHARDED[len(FSDP) :]),
    ],
    ids=["ddp-lora", "ddp-full-accumulated", "fsdp-lora-accumulated", "fsdp-full-accumulated"],
)
def test_two_processes_learn_what_one_learns(run: Run, several: tuple[str, ...], more: tuple[str, ...]) -> None:
    one = run(*(word for word in more if not word.startswith("compute")))
    two = run(*several, *more)
    assert two["key"] == one["key"]
    assert two["names"] == one["names"]
    assert two["folder"].name == one["folder"].name
    assert len(two["lines"]) == len(one["lines"]) > 20
    for ours, theirs in zip(two["lines"], one["lines"], strict=True):
        assert ours.keys() == theirs.keys()
        assert (ours["step"], ours.get("tokens")) == (theirs["step"], theirs.get("tokens"))
        for name in ours.keys() & {"loss", "validation_loss"}:
            assert abs(ours[name] - theirs[name]) < NEAR
    for name in ("training_tokens", "steps", "trained_parameters", "best_step", "gate"):
        assert two["facts"][name] == one["facts"][name]
    alike(two["folder"], one["folder"], full="adapter=full" in more)


def alike(two: Path, one: Path, full: bool) -> None:
    """Both artefacts open without Stepladder, with about the same weights."""
    found = []
    for folder in (two / "artefact", one / "artefact"):
        if full:
            found.append(dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters()))
        else:
            base = ToyCheckpoint().load().module
            found.append(dict(peft.PeftModel.from_pretrained(base, str(folder)).named_parameters()))
            assert load_file(folder / "adapter_model.safetensors").keys()
    assert found[0].keys() == found[1].keys()
    for name, weights in found[0].items():
        assert (weights - found[1][name]).abs().mean() < 1e-4
    untuned = ToyCheckpoint().load().module.state_dict()
    assert any(name not in untuned or not torch.equal(weights, untuned[name]) for name, weights in found[0].items())
