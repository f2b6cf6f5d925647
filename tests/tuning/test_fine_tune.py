"""The training loop on the toy model: its loss, its best weights, its end, and what it leaves behind."""

import contextlib
import re
import signal
import subprocess
import sys

import peft
import pytest
import torch
from toys import LORA, QUICK, lines, losses, rows, toy

from stepladder.errors import ConfigError, DataError, ModelError, StoreError
from stepladder.resources import Devices, Resources, Silent
from stepladder.tuning.adapters import Full
from stepladder.tuning.batches import collate
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import Frozen, TrainingRow, Tuning


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_the_best_validation_loss_is_the_tuned_models_own(dtype):
    model = toy(dtype=dtype)
    resources = Resources()
    tuned = FineTune(Full(), QUICK).tune(model, rows(model), rows(model), resources)
    assert losses(tuned).mean().item() == pytest.approx(
        resources.report.figures["best_validation_loss"], rel=1e-5 if dtype == "float32" else 0.02
    )


@pytest.mark.parametrize("adapter", [LORA, Full()], ids=["lora", "full"])
def test_the_micro_batch_changes_nothing(adapter):
    model = toy()
    tuning = FineTune(adapter, Training(epochs=1, batch_size=16, precision="float32", learning_rate=1e-2))
    one, *others = [
        losses(tuning.tune(model, rows(model), rows(model), Resources(micro_batch=size))) for size in (16, 8, 1)
    ]
    assert not torch.equal(one, losses(model))
    for other in others:
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_one_seed_gives_one_model_and_leaves_the_global_generator_alone():
    model = toy()
    adapter = peft.LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear")
    tuning = FineTune(adapter, QUICK)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = losses(tuning.tune(model, rows(model), (), Resources(), seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(losses(tuning.tune(model, rows(model), (), Resources(), seed=1)), first)
    assert not torch.equal(losses(tuning.tune(model, rows(model), (), Resources(), seed=2)), first)


def test_metrics_lines_and_facts(tmp_path):
    model = toy()
    resources = Resources(folder=tmp_path)
    FineTune(LORA, QUICK).tune(model, rows(model), rows(model, 6), resources)
    steps = [line for line in lines(tmp_path) if "loss" in line]
    validations = [line for line in lines(tmp_path) if "validation_loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 19))
    assert [line["step"] for line in validations] == [3, 6, 9, 12, 15, 18]
    assert not any("loss" in line for line in validations)
    assert steps[0].keys() >= {"step", "loss", "tokens", "seconds", "learning_rate"}
    assert steps[-1]["loss"] < steps[0]["loss"] - 0.3
    tokens = sum(row.length for row in rows(model))
    assert sum(line["tokens"] for line in steps) == resources.report.figures["training_tokens"] == 6 * tokens
    assert resources.report.figures["training_seconds"] == pytest.approx(
        sum(line["seconds"] for line in steps), rel=1e-3
    )
    best = min(validations, key=lambda line: line["validation_loss"])
    assert (resources.report.figures["best_step"], resources.report.figures["best_validation_loss"]) == (
        best["step"],
        best["validation_loss"],
    )
    assert resources.report.figures["steps"] == 18
    assert list((tmp_path / "checkpoints").glob(f"best-{resources.report.figures['best_step']:09}-*.safetensors"))


def test_training_stops_when_validation_gets_worse_and_the_best_weights_are_kept(tmp_path):
    model = toy()
    wrong = [TrainingRow(row.id, row.prompt_ids, model.encode_answer("zzz")) for row in rows(model)]
    resources = Resources(folder=tmp_path)
    training = Training(
        epochs=20, batch_size=8, precision="float32", learning_rate=3e-2, patience=2, schedule="constant", warmup=0
    )
    tuned = FineTune(LORA, training).tune(model, rows(model), wrong, resources)
    best = resources.report.figures["best_step"]
    assert resources.report.figures["steps"] == best + 2 * 3 < 60
    batch = collate(wrong)
    with torch.no_grad():
        found = tuned.answer_losses(*batch).mean().item()
    assert found == pytest.approx(resources.report.figures["best_validation_loss"], rel=1e-4)


def test_an_interrupt_that_was_swallowed_comes_before_the_next_step():
    model = toy()

    def swallow(step, values):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)

    resources = Resources(on_validation=swallow)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        FineTune(LORA, QUICK).tune(model, rows(model), rows(model), resources)
    assert resources.report.figures["steps"] == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_ends_a_training_as_ctrl_c_does():
    resources = Resources(on_validation=lambda *_: signal.raise_signal(signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        FineTune(LORA, QUICK).tune(toy(), rows(toy()), rows(toy()), resources)
    assert resources.report.figures["steps"] < 18
    assert signal.getsignal(signal.SIGTERM) is before


def test_whoever_watches_validations_can_stop_the_training():
    model, seen = toy(), []

    def watch(step, values):
        seen.append((step, values["validation_loss"]))
        return len(seen) == 2

    resources = Resources(on_validation=watch)
    FineTune(LORA, QUICK).tune(model, rows(model), rows(model), resources)
    assert [step for step, _ in seen] == [3, 6]
    assert resources.report.figures["steps"] == 6


def test_without_validation_rows_the_last_weights_are_kept_and_it_is_told():
    notes = []
    progress = Silent()
    progress.note = notes.append
    resources = Resources(progress=progress)
    FineTune(LORA, QUICK).tune(toy(), rows(toy()), (), resources)
    assert notes[0] == "no validation rows: the last weights are kept"
    assert "best_step" not in resources.report.figures


def test_loss_counts_the_answer_and_its_end_token_alone():
    from stepladder.tuning.lightning_module import answer_loss

    model = toy()
    (row,) = rows(model, 1)
    answer = list(row.answer_ids)
    ((_, scores),) = model.score([list(row.prompt_ids)], [["red"]])
    assert answer == model.encode_answer("red")
    assert answer_loss(model, collate([row])).item() == pytest.approx(-scores.log_probabilities[0], rel=1e-5)


def test_a_user_can_bring_an_optimiser():
    tuning = FineTune(LORA, Training(epochs=4, precision="float32", learning_rate=0.5, optimizer=torch.optim.SGD))
    resources = Resources()
    tuning.tune(toy(), rows(toy()), rows(toy()), resources)
    assert resources.report.figures["best_validation_loss"] < losses(toy()).mean().item()


def test_a_loss_that_is_no_number_ends_the_training_with_its_step():
    with pytest.raises(ModelError, match="at step 2 of"):
        FineTune(Full(), Training(precision="float32", learning_rate=1e30, max_grad_norm=None, warmup=0)).tune(
            toy(), rows(toy()), (), Resources()
        )


def test_rows_that_do_not_fit_and_no_rows():
    model = toy(window=16)
    with pytest.raises(ModelError, match="row 0 has 17"):
        FineTune(LORA, QUICK).tune(model, [TrainingRow("0", [1] * 16, [1])], (), Resources())
    with pytest.raises(DataError, match="no training row"):
        FineTune(LORA, QUICK).tune(model, [], (), Resources())
    with pytest.raises(ConfigError, match="this process is alone"):
        FineTune(LORA, QUICK).tune(model, rows(toy()), (), Resources(devices=Devices(devices=2)))


def test_a_fit_without_weights_is_refused(tmp_path):
    for adapter in (LORA, Full()):
        with pytest.raises(StoreError, match="safetensors"):
            FineTune(adapter, QUICK).load(tmp_path, toy(), Resources())


def test_ctrl_c_comes_out_as_keyboard_interrupt():
    import signal

    def interrupt(step, values):
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        FineTune(LORA, QUICK).tune(toy(), rows(toy()), rows(toy()), Resources(on_validation=interrupt))
    assert signal.getsignal(signal.SIGINT) is before


def test_training_says_nothing_and_leaves_nothing_lying_about(tmp_path, monkeypatch, capfd, recwarn):
    monkeypatch.chdir(tmp_path)
    FineTune(LORA, QUICK).tune(toy(), rows(toy()), rows(toy()), Resources())
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert [str(w.message) for w in recwarn] == []


def test_progress_without_a_terminal_is_a_line_with_loss_speed_and_time_left(monkeypatch):
    from stepladder.tuning import progress

    monkeypatch.setattr(progress, "SECONDS_BETWEEN_NOTES", 0.0)
    told = Silent()
    notes = []
    told.note = notes.append
    FineTune(LORA, QUICK).tune(toy(), rows(toy()), rows(toy()), Resources(progress=told))
    assert re.fullmatch(
        r"training: step 4 of 18 · loss \d\.\d\d \(validation \d\.\d\d\) · [\d,]+ tokens/s · \d+ s left", notes[3]
    )


def test_progress_without_a_terminal_begins_with_the_first_step():
    told = Silent()
    notes = []
    told.note = notes.append
    FineTune(LORA, QUICK).tune(toy(), rows(toy()), rows(toy()), Resources(progress=told))
    assert notes[0].startswith("training: step 1 of 18 ")
    assert len(notes) == 1  # the next line comes after half a minute


def test_a_rehearsal_times_steps_and_changes_no_weight():
    model = toy()
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    for adapter in (LORA, Full()):
        resources = Resources(rehearsal=True)
        FineTune(adapter, QUICK).tune(model, rows(model), rows(model), resources)
        assert resources.report.figures["expected_training_seconds"] > 0
    after = model.module.state_dict()
    assert all(value.equal(after[name]) for name, value in before.items())


def test_classes_that_config_builds_import_nothing_heavy():
    code = "import stepladder.tuning.fine_tune, sys; print([m for m in %r if m in sys.modules])"
    heavy = ("torch", "peft", "transformers", "pytorch_lightning", "bitsandbytes")
    done = subprocess.run([sys.executable, "-c", code % (heavy,)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_frozen_learns_nothing(tmp_path):
    model, tuning = toy(), Frozen()
    assert isinstance(tuning, Tuning)
    assert tuning.reads == frozenset()
    assert tuning.tune(model, rows(model), (), Resources()) is model
    tuning.save(tmp_path, model)
    assert tuning.load(tmp_path, model, Resources()) is model
    assert list(tmp_path.iterdir()) == []
