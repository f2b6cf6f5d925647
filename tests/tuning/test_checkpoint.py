"""A training that was cut short goes on where its last checkpoint stands, and ends where it would have ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import peft
import pytest
import torch
from toys import QUICK, lines, rows, toy

from stepladder.resources import Resources
from stepladder.tuning.fine_tune import FineTune

DROPPING = peft.LoraConfig(r=4, lora_dropout=0.2, target_modules="all-linear")


class Cut(Exception): ...  # noqa: N818


def trained(folder: Path, cut_at: int | None = None, seen: list[int] | None = None, patience: int | None = None):
    """The weights and facts of a training in `folder`, which is cut short in its validation number `cut_at`."""
    model, told = toy(), []

    def watch(step, values):
        told.append(step)
        if seen is not None:
            seen.append(step)
        if len(told) == cut_at:
            raise Cut
        return False

    resources = Resources(folder=folder, on_validation=watch)
    tuned = FineTune(DROPPING, replace(QUICK, patience=patience)).tune(model, rows(model), rows(model, 6), resources, 3)
    facts = {name: fact for name, fact in resources.facts.items() if "seconds" not in name}
    return {n: p.detach().clone() for n, p in tuned.module.named_parameters() if "lora" in n}, facts


@pytest.mark.parametrize("cuts", [[1], [2], [5], [2, 4], [6]])
def test_it_ends_as_if_it_had_not_been_cut(cuts: list[int], tmp_path: Path) -> None:
    wanted, facts = trained(tmp_path / "whole")
    for cut in cuts:
        with pytest.raises(Cut):
            trained(tmp_path / "cut", cut)
    assert (tmp_path / "cut" / "checkpoints" / "last.safetensors").exists()
    seen: list[int] = []
    found, again = trained(tmp_path / "cut", seen=seen)
    assert again == facts
    assert seen == [3, 6, 9, 12, 15, 18]  # what was reported before the cut is told again
    for name, weights in wanted.items():
        torch.testing.assert_close(found[name], weights, rtol=0, atol=0)
    curves = [
        [(x["step"], x.get("loss"), x.get("validation_loss")) for x in lines(tmp_path / f)] for f in ("whole", "cut")
    ]
    assert curves[0] == curves[1]
    assert not (tmp_path / "cut" / "checkpoints" / "last.safetensors").exists()


def test_a_checkpoint_whose_best_weights_are_not_there_is_left_alone(tmp_path: Path) -> None:
    wanted, facts = trained(tmp_path / "whole")
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 3)
    (tmp_path / "cut" / "checkpoints" / "best.safetensors").unlink()
    found, again = trained(tmp_path / "cut")
    assert again == facts
    assert all(torch.equal(found[name], weights) for name, weights in wanted.items())
