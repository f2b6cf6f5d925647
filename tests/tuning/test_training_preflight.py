"""What a training would learn is looked at before its first step: each fault, planted, is caught."""

from __future__ import annotations

from dataclasses import replace

import peft
import pytest
import torch
from toys import LORA, QUICK, losses, rows, toy

from stepladder.errors import ConfigError
from stepladder.resources import Resources, Silent
from stepladder.tuning import lightning_module
from stepladder.tuning.adapters import BitFit, Full
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.tuning import TrainingRow
from stepladder.types import PreflightLimits

DROPPING = peft.LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear")


def findings(model, learnt, adapter=LORA, training=QUICK, **more):
    """By name; nothing is trained."""
    resources = Resources(rehearsal=True, **more)
    tuned = FineTune(adapter, training).tune(model, learnt, rows(toy(), 6), resources)
    assert "steps" not in resources.report.figures
    assert all(parameter.grad is None for parameter in tuned.module.parameters())
    return {found.name: found for found in resources.report.checks}


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize(
    "adapter", [LORA, Full(), BitFit(), peft.IA3Config(target_modules=["up_proj"], feedforward_modules=["up_proj"])]
)
def test_a_sound_training_passes(adapter, dtype):
    model = toy(dtype=dtype, bias=True)
    found = findings(model, rows(model), adapter, replace(QUICK, precision=dtype))
    assert not any(each.warns or each.stops for each in found.values())
    answers = sum(len(row.answer_ids) for row in rows(model))
    assert found["supervised"].value == answers / sum(row.length for row in rows(model))
    assert (found["ended"].value, found["apart"].value, found["touched"].value) == (1.0, True, True)


def test_looking_changes_nothing_of_what_is_learnt(monkeypatch):
    model, tuning = toy(), FineTune(DROPPING, QUICK)
    looked_at = losses(tuning.tune(model, rows(model), rows(model, 6), Resources(), seed=1))
    monkeypatch.setattr(lightning_module, "check_training", lambda *_: [])
    assert torch.equal(losses(tuning.tune(model, rows(model), rows(model, 6), Resources(), seed=1)), looked_at)


def stopped(model, learnt, adapter=LORA):
    """The keys of preflight checks that stop the run, and that a run is stopped before its first step by the same."""
    found = findings(model, learnt, adapter)
    resources = Resources()
    with pytest.raises(ConfigError) as refused:
        FineTune(adapter, QUICK).tune(model, learnt, (), resources)
    assert "steps" not in resources.report.figures
    keys = {fault.key for fault in refused.value.faults}
    assert keys == {f"preflight.{each.name}" for each in found.values() if each.stops}
    assert all("to run anyway" in fault.to_do for fault in refused.value.faults)
    return keys


def test_all_labels_masked():
    model = toy()
    bare = [TrainingRow(row.id, [*row.prompt_ids, *row.answer_ids], []) for row in rows(model)]
    assert stopped(model, bare) == {"preflight.supervised", "preflight.ended"}
    assert findings(model, bare)["supervised"].message.startswith("0.0% of ")


def test_an_end_token_that_is_not_learnt():
    model = toy()
    endless = [TrainingRow(row.id, row.prompt_ids, row.answer_ids[:-1]) for row in rows(model)]
    assert stopped(model, endless) == {"preflight.ended"}
    assert stopped(model, [*rows(model), endless[0]]) == {"preflight.ended"}
    notes, told = [], Silent()
    told.note = notes.append
    FineTune(LORA, replace(QUICK, epochs=1)).tune(
        model, endless, (), Resources(limits=PreflightLimits(ended=None), progress=told)
    )
    assert "preflight: 0.0% of the answers are supervised up to an end token" in notes


class Packing:
    """A model that lays rows end to end and forgets where one ends."""

    def __init__(self, model):
        self.model = model

    def __getattr__(self, name):
        return getattr(self.model, name)

    def adapted(self, *arguments):
        return Packing(self.model.adapted(*arguments))

    def answer_losses(self, ids, mask, answer):
        return self.model.answer_losses(ids[mask][None], mask[mask][None], answer[mask][None])


@pytest.mark.parametrize("adapter", [LORA, Full()])
def test_packed_rows_that_see_each_other(adapter):
    model = toy()
    assert stopped(Packing(model), rows(model), adapter) == {"preflight.apart"}


def test_an_adapter_on_nothing():
    model = toy()
    assert stopped(model, rows(model), peft.LoraConfig(r=4, lora_alpha=0, target_modules="all-linear")) == {
        "preflight.touched"
    }
    assert (
        findings(model, rows(model), LORA)["touched"].message
        == "14 of 28 trained tensors have a nonzero gradient at the first step "
        "(LoRA's A matrices start at zero gradient by design)"
    )


def test_a_limit_is_a_share():
    with pytest.raises(ConfigError) as refused:
        PreflightLimits(supervised=1.5, lost=-0.1)
    assert [fault.key for fault in refused.value.faults] == ["supervised", "lost"]
