"""NEFTune, LoRA+ and what rounding keeps: each does what its paper or its documentation says."""

import math

import peft
import pytest
import torch
from toys import LORA, QUICK, losses, rows, toy

from stepladder.errors import ConfigError
from stepladder.resources import Resources, Silent
from stepladder.tuning.adapters import BitFit, Full
from stepladder.tuning.batches import collate
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training

PLAIN_STEP = {"epochs": 1, "batch_size": 24, "precision": "float32", "learning_rate": 0.1, "schedule": "constant"}
PLAIN_STEP |= {"warmup": 0.0, "max_grad_norm": None, "optimizer": torch.optim.SGD}


class Noted(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def low_rank(model, factor):
    state = peft.get_peft_model_state_dict(model.module)
    return {name: value for name, value in state.items() if factor in name}


def test_neftune_noise_is_uniform_with_each_rows_own_scale():
    model = toy()
    batch = collate([rows(model)[i] for i in (0, 8, 4)])
    network = model.engine.network
    torch.manual_seed(0)
    plain = network.causal.get_input_embeddings()(batch.ids).detach()
    noise = [network.noisy_embeddings(batch.ids, batch.mask, 5.0).detach() - plain for _ in range(2)]
    assert not torch.equal(noise[0], noise[1])
    lengths = batch.mask.sum(dim=1).tolist()
    assert len(set(lengths)) > 1
    for row, length in zip(noise[0], lengths, strict=True):
        bound = 5.0 / math.sqrt(length * 64)
        inside = row[:length]
        assert 0.99 * bound < inside.abs().max() <= 1.001 * bound
        assert abs(inside.mean()) < 0.05 * bound
        assert inside.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)  # of a uniform distribution


@pytest.mark.parametrize(
    "adapter", [LORA, peft.PromptTuningConfig(num_virtual_tokens=3), Full()], ids=["lora", "prompt", "full"]
)
def test_neftune_changes_training_and_nothing_else(adapter):
    def trained(alpha):
        model, resources = toy(), Resources()
        training = Training(epochs=2, precision="float32", learning_rate=1e-2, neftune_noise_alpha=alpha)
        tuned = FineTune(adapter, training).tune(model, rows(model), rows(model), resources, seed=1)
        return losses(tuned), resources.report.figures["best_validation_loss"]

    without, almost_none, some = trained(None), trained(1e-7), trained(5.0)
    torch.testing.assert_close(almost_none[0], without[0], rtol=1e-3, atol=1e-3)
    assert (some[0] - without[0]).abs().max() > 1e-3
    assert some[0].mean().item() == pytest.approx(some[1], rel=1e-4)  # validated without noise
    assert torch.equal(trained(5.0)[0], some[0])


def test_lora_plus_raises_the_rate_of_b_alone():
    model = toy()

    def stepped(ratio):
        adapter = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        training = Training(**PLAIN_STEP, lora_plus_ratio=ratio)
        return FineTune(adapter, training).tune(model, rows(model), (), Resources(), seed=1)

    once, eight = stepped(None), stepped(8.0)
    again = stepped(1.0)
    start = FineTune(
        peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
        Training(**{**PLAIN_STEP, "learning_rate": 1e-12}),
    ).tune(model, rows(model), (), Resources(), seed=1)
    begun = low_rank(start, "lora_B")
    for name, value in low_rank(once, "lora_B").items():
        torch.testing.assert_close(
            low_rank(eight, "lora_B")[name] - begun[name], 8 * (value - begun[name]), rtol=1e-2, atol=1e-5
        )
    for name, value in low_rank(once, "lora_A").items():
        torch.testing.assert_close(low_rank(eight, "lora_A")[name], value)
        torch.testing.assert_close(low_rank(again, "lora_A")[name], value)


def test_lora_plus_with_the_usual_optimiser_learns():
    resources = Resources()
    training = Training(epochs=6, precision="float32", learning_rate=2e-3, lora_plus_ratio=16.0, weight_decay=0.01)
    model = toy()
    FineTune(LORA, training).tune(model, rows(model), rows(model), resources)
    assert resources.report.figures["best_validation_loss"] < 0.9 * losses(model).mean().item()


@pytest.mark.parametrize(
    "adapter", [Full(), BitFit(), peft.PrefixTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")]
)
def test_lora_plus_without_a_lora_is_refused(adapter):
    with pytest.raises(ConfigError, match="lora_plus_ratio"):
        FineTune(adapter, Training(lora_plus_ratio=4.0)).tune(toy(bias=True), rows(toy()), (), Resources())


@pytest.mark.parametrize(
    "wrong", [{"lora_plus_ratio": 0.5}, {"neftune_noise_alpha": 0.0}, {"neftune_noise_alpha": -1.0}]
)
def test_values_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Training(**wrong)


@pytest.mark.parametrize("adapter", [Full(), BitFit()])
def test_rounding_that_undoes_the_training_is_reported_with_its_share(adapter):
    notes, model = Noted(), toy(bias=True, dtype="bf16")
    for parameter in model.module.parameters():
        parameter.data.add_(0.5)  # biases are zero, where bf16 keeps any change
    resources = Resources(progress=notes)
    training = Training(epochs=1, learning_rate=1e-6, warmup=0.0, schedule="constant")
    tuned = FineTune(adapter, training).tune(model, rows(model), (), resources)
    base = model.module.state_dict()
    kept = sum(int((value != base[name]).sum()) for name, value in tuned.module.state_dict().items())
    assert resources.report.figures["weights_kept"] == kept < 0.1 * resources.report.figures["weights_changed"]
    (told,) = [note for note in notes.notes if note.startswith("warning: rounding")]
    assert f"{kept:,} of {resources.report.figures['weights_changed']:,} changed weights" in told


def test_full_tuning_keeps_every_change_in_float32_where_asked(tmp_path):
    notes, model = Noted(), toy(dtype="bf16")
    training = Training(epochs=1, learning_rate=1e-6, warmup=0.0, schedule="constant")
    tuning = FineTune(Full(dtype="float32"), training)
    tuned = tuning.tune(model, rows(model), rows(model), Resources(progress=notes))
    assert {parameter.dtype for parameter in tuned.module.parameters()} == {torch.float32}
    changed = sum(int((p != model.module.state_dict()[n]).sum()) for n, p in tuned.module.named_parameters())
    assert changed > 0.9 * sum(p.numel() for p in model.module.model.layers.parameters())
    assert not [note for note in notes.notes if "rounding" in note]
    tuning.save(tmp_path, tuned)
    assert torch.equal(losses(tuning.load(tmp_path, model, Resources())), losses(tuned))
    assert model.module.dtype == torch.bfloat16


def test_lora_on_a_bf16_model_is_kept_in_float32():
    model, resources = toy(dtype="bf16"), Resources()
    tuned = FineTune(LORA, QUICK).tune(model, rows(model), (), resources)
    assert {value.dtype for value in low_rank(tuned, "lora_").values()} == {torch.float32}
    assert "weights_kept" not in resources.report.figures
