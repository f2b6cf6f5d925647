"""However an effective batch is cut into micro-batches, by config or because memory runs out, it teaches the same."""

from __future__ import annotations

from dataclasses import replace

import peft
import pytest
import torch
from toys import LORA, QUICK, lines, rows, toy

from stepladder.errors import ModelError
from stepladder.resources import Resources, Silent
from stepladder.tuning import checkpoint
from stepladder.tuning.adapters import Full
from stepladder.tuning.fine_tune import FineTune

DROPPING = peft.LoraConfig(r=4, lora_dropout=0.2, target_modules="all-linear")
STEP = replace(
    QUICK, epochs=1, batch_size=16, learning_rate=1.0, max_grad_norm=None, warmup=0.0, schedule="constant",
    optimizer=torch.optim.SGD,
)  # fmt: skip


@pytest.mark.parametrize("adapter", [LORA, Full()], ids=["lora", "full"])
def test_gradients_are_the_same_whatever_the_micro_batch(adapter):
    model = toy()
    learnt = rows(model, 16)
    assert len({row.length for row in learnt}) > 5
    assert len({len(row.answer_ids) for row in learnt}) > 2

    def gradients(micro_batch):
        """What one step of plain descent at a rate of one takes off the weights."""
        before, after = (
            FineTune(adapter, replace(STEP, learning_rate=rate)).tune(
                model, learnt, (), Resources(micro_batch=micro_batch)
            )
            for rate in (1e-30, 1.0)
        )
        pairs = zip(before.module.named_parameters(), after.module.parameters(), strict=True)
        return {name: one - two for (name, one), two in pairs}

    whole = gradients(16)
    assert sum(bool(gradient.any()) for gradient in whole.values()) >= 14
    for micro_batch in (8, 1):
        for name, gradient in gradients(micro_batch).items():
            torch.testing.assert_close(gradient, whole[name], rtol=1e-5, atol=1e-5)


class Small:
    """A model on a machine with budget for so many rows, or for so many tokens with padding."""

    def __init__(self, model, error=MemoryError, most_rows=99, most_tokens=9999):
        self.model, self.limits = model, (error, most_rows, most_tokens)

    def __getattr__(self, name):
        return getattr(self.model, name)

    def adapted(self, *arguments):
        return Small(self.model.adapted(*arguments), *self.limits)

    def answer_losses(self, ids, mask, answer):
        found = self.model.answer_losses(ids, mask, answer)  # draws, as a pass does that runs out half way
        error, most_rows, most_tokens = self.limits
        if len(ids) > most_rows or ids.numel() > most_tokens:
            raise error
        return found


class Told(Silent):
    def __init__(self, cut_at=None):
        self.notes, self.cut_at = [], cut_at

    def note(self, text):
        if not text.startswith("training: "):  # how far it is, now and then on a slow machine
            self.notes.append(text)

    def log(self, values, step):
        if step == self.cut_at:
            raise InterruptedError


def trained(model, folder, micro_batch=None, told=None, adapter=DROPPING):
    told = told or Told()
    resources = Resources(folder=folder, micro_batch=micro_batch, progress=told, tracker=told)
    tuned = FineTune(adapter, QUICK).tune(model, rows(toy()), rows(toy(), 6), resources, 3)
    curves = [{name: value for name, value in line.items() if name != "seconds"} for line in lines(folder)]
    return (
        [p.detach().clone() for p in tuned.module.parameters() if p.requires_grad],
        curves,
        resources.report.figures,
        told.notes,
    )


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    ),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=["cuda", "cpu", "python"])
def test_out_of_memory_halves_the_micro_batch_and_nothing_else(error, tmp_path):
    wanted = trained(toy(), tmp_path / "two", micro_batch=2)
    found = trained(Small(toy(), error, most_rows=2), tmp_path / "small", micro_batch=16)
    # As if it had been two rows from the start: dropout too is drawn from the same place.
    assert all(torch.equal(one, two) for one, two in zip(found[0], wanted[0], strict=True))
    assert found[1] == wanted[1]
    assert found[2]["rows_at_once"] == 2
    assert found[3] == [
        f"out of memory: from here on at most {count} rows at once; batch size and loss stay" for count in (4, 2)
    ]


def test_the_loss_stays_where_room_is_counted_in_tokens(tmp_path):
    wanted = trained(toy(), tmp_path / "whole", adapter=LORA)
    found = trained(Small(toy(), most_tokens=100), tmp_path / "small", adapter=LORA)
    assert found[2]["tokens_at_once"] <= 100
    assert [line["step"] for line in found[1]] == [line["step"] for line in wanted[1]]
    for one, two in zip(found[1], wanted[1], strict=True):
        assert one == pytest.approx(two, rel=1e-4)


def test_a_row_that_is_too_much_alone_is_told(tmp_path):
    with pytest.raises(ModelError, match="too small for one row at once"):
        trained(Small(toy(), most_tokens=25), tmp_path)


def test_another_error_is_left_alone(tmp_path):
    with pytest.raises(RuntimeError, match="something else"):
        trained(Small(toy(), RuntimeError("something else"), most_rows=4), tmp_path)


def test_what_was_halved_stays_halved_after_a_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    monkeypatch.setattr(checkpoint, "SECONDS_APART", 0)
    wanted = trained(Small(toy(), most_tokens=100), tmp_path / "whole")
    with pytest.raises(InterruptedError):
        trained(Small(toy(), most_tokens=100), tmp_path / "cut", told=Told(7))
    found = trained(Small(toy(), most_tokens=100), tmp_path / "cut")
    assert all(torch.equal(one, two) for one, two in zip(found[0], wanted[0], strict=True))
    assert found[1] == wanted[1]
    assert found[3] == []
