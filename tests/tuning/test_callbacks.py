"""Lightning callbacks of the user's own: when they are called, with what, what they log, and how they resume."""

from __future__ import annotations

import math

import pytest
import torch
from pytorch_lightning import Callback, callbacks
from test_checkpoint import Cut, Shown, assert_same, trained
from toys import LORA, QUICK, lines, rows, toy

from stepladder.errors import ConfigError
from stepladder.resources import Resources, Silent
from stepladder.tuning import checkpoint
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training

SEEN: list[tuple[object, ...]] = []
"""What the callbacks of the fit were called with: a fit trains with copies of them."""


class Spy(Callback):
    def __init__(self) -> None:
        self.batches, self.noise = 0, torch.zeros(2)

    def on_train_epoch_start(self, trainer, module):
        SEEN.append(("epoch", trainer.current_epoch, trainer.global_step))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        assert trainer.callback_metrics["loss"].item() == pytest.approx(outputs["loss"].item())
        self.batches += 1
        self.noise += outputs["loss"].item()
        SEEN.append(("batch", trainer.current_epoch, trainer.global_step, batch_idx, self.batches, self.noise.tolist()))

    def on_before_optimizer_step(self, trainer, module, optimizer):
        assert any(p.grad is not None for group in optimizer.param_groups for p in group["params"])

    def on_validation_end(self, trainer, module):
        SEEN.append(("validation", trainer.global_step, trainer.callback_metrics["validation_loss"].item()))

    def state_dict(self):
        return {"batches": self.batches, "noise": self.noise, "nested": [{"a": None}]}

    def load_state_dict(self, state):
        assert state["nested"] == [{"a": None}]
        self.batches, self.noise = state["batches"], state["noise"]


class Unstorable(Callback):
    def state_dict(self):
        return {"file": object()}


class StopsAt(Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, trainer, *_):
        trainer.should_stop = trainer.global_step == self.step


@pytest.fixture(autouse=True)
def _nothing_seen():
    SEEN.clear()


def tuned(folder, *own, validated=True, shown=None, **training):
    model = toy()
    resources = Resources(folder=folder, tracker=shown or Silent())
    held_out = rows(model, 6) if validated else ()
    settings = {"epochs": 3, "batch_size": 8, "precision": "float32", "learning_rate": 1e-2, "patience": None}
    FineTune(LORA, Training(**{**settings, **training}, callbacks=own)).tune(model, rows(model), held_out, resources)
    return resources


def test_hooks_are_called_as_in_any_lightning_fit(tmp_path):
    tuned(tmp_path, Spy(), validate_every=0.5)  # 3 steps an epoch, validated every 2 steps and at the end
    assert [seen[1:] for seen in SEEN if seen[0] == "epoch"] == [(0, 0), (1, 3), (2, 6)]
    batches = [seen for seen in SEEN if seen[0] == "batch"]
    assert [(epoch, step, idx) for _, epoch, step, idx, *_ in batches] == [(n // 3, n + 1, n % 3) for n in range(9)]
    stored = [(line["step"], line["validation_loss"]) for line in lines(tmp_path) if "validation_loss" in line]
    assert [step for step, _ in stored] == [2, 4, 6, 8, 9]
    assert [seen[1:] for seen in SEEN if seen[0] == "validation"] == [
        (step, pytest.approx(loss, rel=1e-6)) for step, loss in stored
    ]


@pytest.mark.parametrize("cuts", [[2], [4], [3, 8], [17, 18]])  # within an epoch, and at its end
def test_a_resumed_fit_calls_them_as_if_it_had_not_been_cut(cuts, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    monkeypatch.setattr(checkpoint, "SECONDS_APART", 0)
    more = {"callbacks": [Spy(), callbacks.EarlyStopping("validation_loss", patience=9)]}
    wanted = trained(tmp_path / "whole", **more)
    whole = list(SEEN)
    for cut in cuts:
        with pytest.raises(Cut):
            trained(tmp_path / "cut", cut, **more)
    SEEN.clear()
    found = trained(tmp_path / "cut", **more)
    assert_same(found, wanted, tmp_path / "cut", tmp_path / "whole")
    assert whole[-len(SEEN) :] == SEEN
    assert SEEN[0][0] in ("batch", "epoch")


def test_early_stopping_ends_the_fit(tmp_path):
    resources = tuned(tmp_path, callbacks.EarlyStopping("validation_loss", patience=1, min_delta=100.0), epochs=6)
    assert (
        resources.report.figures["steps"] == 6
    )  # the first validation is the best one; one without a better one is allowed


def test_a_callback_may_stop_the_fit_between_validations_and_the_end_is_validated(tmp_path):
    resources = tuned(tmp_path, StopsAt(4), epochs=6)
    assert resources.report.figures["steps"] == 4
    assert [line["step"] for line in lines(tmp_path) if "validation_loss" in line] == [3, 4]


def test_what_a_callback_logs_is_stored_and_tracked(tmp_path):
    class Names(Silent):
        def __init__(self):
            self.points = []

        def log(self, values, step):
            self.points += [(step, name) for name in values]

    told = Names()
    tuned(tmp_path, callbacks.LearningRateMonitor(), shown=told, validated=False)
    assert {step for step, name in told.points if name == "lr-AdamW"} == set(range(1, 10))
    logged = {line["step"]: line["lr-AdamW"] for line in lines(tmp_path) if "lr-AdamW" in line}
    used = {line["step"]: line["learning_rate"] for line in lines(tmp_path) if "loss" in line}
    assert logged == pytest.approx(used)


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (callbacks.StochasticWeightAveraging(1e-2), "weights of its best validation"),
        (callbacks.ModelCheckpoint(), "checkpoints of its own"),
        (callbacks.LearningRateFinder(), "training.learning_rate"),
        (callbacks.BatchSizeFinder(), "compute.micro_batch"),
        (callbacks.GradientAccumulationScheduler({1: 2}), "compute.micro_batch"),
        (callbacks.BackboneFinetuning(), "the adapter"),
        (callbacks.TQDMProgressBar(), "progress itself"),
        (callbacks.LambdaCallback(), "write a Callback class"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_work_is_refused_with_its_reason(callback, reason, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.callbacks\[1\]") as caught:
        tuned(tmp_path, Spy(), callback)
    assert reason in str(caught.value)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_monitored_loss_needs_validation_rows(tmp_path):
    with pytest.raises(ConfigError, match="no validation rows"):
        tuned(tmp_path, callbacks.EarlyStopping("validation_loss"), validated=False)


def test_a_state_that_cannot_be_stored_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    told = Shown()
    trained(tmp_path, shown=told, callbacks=[Unstorable()])
    assert [note for note in told.notes if "Unstorable" in note]
    assert not list((tmp_path / "checkpoints").glob("step-*"))


def test_an_optimiser_must_be_one():
    with pytest.raises(ConfigError, match=r"training\.optimizer"):
        tuned(None, optimizer=lambda *_, **__: object())


def test_the_tracker_of_a_resumed_fit_gets_the_whole_curve(tmp_path, monkeypatch):
    class Points(Shown):
        def __init__(self, cut_at=None):
            super().__init__(cut_at)
            self.points = []

        def log(self, values, step):
            super().log(values, step)
            self.points.append((step, frozenset(values), values.get("loss", values.get("validation_loss"))))

    monkeypatch.setattr(checkpoint, "TIMES_APART", 0)
    monkeypatch.setattr(checkpoint, "SECONDS_APART", 0)
    whole, resumed = Points(), Points()
    trained(tmp_path / "whole", shown=whole)
    with pytest.raises(Cut):
        trained(tmp_path / "cut", 5)
    trained(tmp_path / "cut", shown=resumed)
    assert resumed.points == whole.points
    assert resumed.points[0][0] == 1
    assert QUICK.steps(24) == max(step for step, *_ in resumed.points)
    assert all(math.isfinite(loss) for *_, loss in resumed.points)
