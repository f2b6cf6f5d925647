"""Fine-tuning on the toy model: what is shipped trains, frozen weights stay, what was saved comes back."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
import yaml

from stepladder.errors import ConfigError, DataError, ModelError, StoreError
from stepladder.model.toy import ToyCheckpoint
from stepladder.records import Message
from stepladder.resources import Devices, Resources, Silent
from stepladder.tuning.adapters import BitFit, Full
from stepladder.tuning.batches import collate
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import Frozen, TrainingRow, Tuning

CONF = Path(__file__).parents[2] / "conf"
QUICK = Training(epochs=6, batch_size=8, precision="float32", learning_rate=1e-2, patience=None)
LORA = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")


def toy(dtype="float32", **arguments):
    """In bf16 as transformers loads a model: weights in bf16, what is computed (rotary frequencies) in float32."""
    model = ToyCheckpoint(**arguments).load()
    for parameter in model.module.parameters():
        parameter.data = parameter.data.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
    return model


def rows(model, count=24):
    answers = ("red", "green and blue", "no")
    return [
        TrainingRow(
            str(i), model.encode([Message("user", f"{'x' * (i % 9)} {i % 3}?")]), model.encode_answer(answers[i % 3])
        )
        for i in range(count)
    ]


def logits(model):
    with torch.no_grad():
        return model.answer_logits(*collate(rows(model)))


def shipped(name):
    node = yaml.safe_load((CONF / "adapter" / f"{name}.yaml").read_text())
    module, _, cls = node.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), cls)(**node)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize("name", ["lora", "rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bitfit", "full"])
def test_every_shipped_adapter_trains_and_comes_back(name, dtype, tmp_path):
    model = toy(bias=True, dtype=dtype)
    before = {key: value.clone() for key, value in model.module.state_dict().items()}
    untuned = logits(model)
    tuning = FineTune(
        shipped(name), Training(epochs=10, batch_size=8, precision=dtype, learning_rate=2e-2, patience=None)
    )
    resources = Resources()
    tuned = tuning.tune(model, rows(model), rows(model), resources)

    assert isinstance(tuning, Tuning)
    assert resources.facts["best_validation_loss"] < 0.995 * loss(untuned, model)
    assert all(torch.equal(value, before[key]) for key, value in model.module.state_dict().items())
    assert torch.equal(logits(model), untuned)

    tuning.save(tmp_path, tuned)
    loaded = tuning.load(tmp_path, model, Resources())
    assert torch.equal(logits(loaded), logits(tuned))
    assert not torch.equal(logits(loaded), untuned)
    assert not list(tmp_path.glob("*.bin"))


def loss(found, model):
    batch = collate(rows(model))
    return torch.nn.functional.cross_entropy(found.float(), batch.ids[batch.answer]).item()


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
def test_the_best_validation_loss_is_the_tuned_models_own(dtype):
    model = toy(dtype=dtype)
    resources = Resources()
    tuned = FineTune(Full(), QUICK).tune(model, rows(model), rows(model), resources)
    assert loss(logits(tuned), model) == pytest.approx(
        resources.facts["best_validation_loss"], rel=1e-5 if dtype == "float32" else 0.02
    )


def test_only_what_is_trained_differs_from_the_base():
    model = toy(bias=True)
    tuned = FineTune(BitFit(), QUICK).tune(model, rows(model), (), Resources())
    base = model.module.state_dict()
    changed = {name for name, value in tuned.module.state_dict().items() if not torch.equal(value, base[name])}
    assert changed
    assert all(name.endswith("bias") for name in changed)


def test_frozen_weights_lie_on_the_bases_own_memory():
    model = toy(dtype="bf16")
    tuned = FineTune(LORA, QUICK).tune(model, rows(model), (), Resources())
    base = model.module.model.layers[0].mlp.up_proj.weight
    assert tuned.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.data_ptr() == base.data_ptr()


@pytest.mark.parametrize("adapter", [LORA, Full()], ids=["lora", "full"])
def test_the_micro_batch_changes_nothing(adapter):
    model = toy()
    tuning = FineTune(adapter, Training(epochs=1, batch_size=16, precision="float32", learning_rate=1e-2))
    one, *others = [
        logits(tuning.tune(model, rows(model), rows(model), Resources(micro_batch=size))) for size in (16, 8, 1)
    ]
    assert not torch.equal(one, logits(model))
    for other in others:
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-4)


def test_one_seed_gives_one_model_and_leaves_the_global_generator_alone():
    model = toy()
    adapter = peft.LoraConfig(r=4, lora_dropout=0.3, target_modules="all-linear")
    tuning = FineTune(adapter, QUICK)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = logits(tuning.tune(model, rows(model), (), Resources(), seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert torch.equal(logits(tuning.tune(model, rows(model), (), Resources(), seed=1)), first)
    assert not torch.equal(logits(tuning.tune(model, rows(model), (), Resources(), seed=2)), first)


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
    assert sum(line["tokens"] for line in steps) == resources.facts["training_tokens"] == 6 * tokens
    assert resources.facts["training_seconds"] == pytest.approx(sum(line["seconds"] for line in steps), rel=1e-3)
    best = min(validations, key=lambda line: line["validation_loss"])
    assert (resources.facts["best_step"], resources.facts["best_validation_loss"]) == (
        best["step"],
        best["validation_loss"],
    )
    assert resources.facts["steps"] == 18
    assert (tmp_path / "checkpoints" / "best.safetensors").exists()


def test_trained_parameters_of_lora():
    resources = Resources()
    config = peft.LoraConfig(r=4, target_modules=["q_proj"])
    FineTune(config, Training(epochs=1, precision="float32")).tune(toy(), rows(toy()), (), resources)
    assert resources.facts["trained_parameters"] == 2 * (64 * 4 + 4 * 64)


def test_training_stops_when_validation_gets_worse_and_the_best_weights_are_kept(tmp_path):
    model = toy()
    wrong = [TrainingRow(row.id, row.prompt_ids, model.encode_answer("zzz")) for row in rows(model)]
    resources = Resources(folder=tmp_path)
    training = Training(
        epochs=20, batch_size=8, precision="float32", learning_rate=3e-2, patience=2, schedule="constant", warmup=0
    )
    tuned = FineTune(LORA, training).tune(model, rows(model), wrong, resources)
    best = resources.facts["best_step"]
    assert resources.facts["steps"] == best + 2 * 3 < 60
    batch = collate(wrong)
    with torch.no_grad():
        found = torch.nn.functional.cross_entropy(tuned.answer_logits(*batch), batch.ids[batch.answer]).item()
    assert found == pytest.approx(resources.facts["best_validation_loss"], rel=1e-4)


def test_whoever_watches_validations_can_stop_the_training():
    model, seen = toy(), []

    def watch(step, values):
        seen.append((step, values["validation_loss"]))
        return len(seen) == 2

    resources = Resources(on_validation=watch)
    FineTune(LORA, QUICK).tune(model, rows(model), rows(model), resources)
    assert [step for step, _ in seen] == [3, 6]
    assert resources.facts["steps"] == 6


def test_without_validation_rows_the_last_weights_are_kept_and_it_is_told():
    notes = []
    progress = Silent()
    progress.note = notes.append
    resources = Resources(progress=progress)
    FineTune(LORA, QUICK).tune(toy(), rows(toy()), (), resources)
    assert notes == ["no validation rows: the last weights are kept"]
    assert "best_step" not in resources.facts


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
    assert resources.facts["best_validation_loss"] < loss(logits(toy()), toy())


def test_saved_adapter_opens_in_plain_peft(tmp_path):
    model = toy()
    tuning = FineTune(LORA, QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    tuning.save(tmp_path, tuned)
    opened = peft.PeftModel.from_pretrained(toy().module, str(tmp_path))
    ids = torch.tensor([list(rows(model)[0].prompt_ids)])
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, tuned.module(ids).logits)


def test_saved_full_model_opens_in_plain_transformers_with_its_tokenizer(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = toy(dtype="bf16")
    tuning = FineTune(Full(), QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    assert tuned.module.dtype == torch.bfloat16
    tuning.save(tmp_path, tuned)
    opened = AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([list(rows(model)[0].prompt_ids)])
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, tuned.module(ids).logits)
    assert AutoTokenizer.from_pretrained(tmp_path)("abc")["input_ids"] == model.tokenizer("abc")["input_ids"]


def test_an_adapter_that_rewrites_the_base_leaves_the_given_one_as_it_was(tmp_path):
    model = toy()
    untuned = logits(model)
    tuning = FineTune(peft.LoraConfig(r=4, init_lora_weights="pissa", target_modules="all-linear"), QUICK)
    tuned = tuning.tune(model, rows(model), (), Resources())
    assert torch.equal(logits(model), untuned)
    tuning.save(tmp_path, tuned)
    torch.testing.assert_close(logits(tuning.load(tmp_path, model, Resources())), logits(tuned))


@pytest.mark.parametrize(
    ("adapter", "told"),
    [
        (peft.LoraConfig(target_modules=["q_prj"]), "q_proj"),
        (peft.LoraConfig(target_modules=["q_proj", "w_proj"]), "w_proj"),
        (peft.LoraConfig(target_modules=r".*attention\.q"), "attention"),
        (BitFit(), "biases"),
        (peft.AdaLoraConfig(total_step=10), "ADALORA"),
        ("lora", "no adapter"),
    ],
)
def test_an_adapter_that_does_not_fit_is_named(adapter, told):
    with pytest.raises((ModelError, ConfigError), match=told):
        FineTune(adapter, QUICK).tune(toy(), rows(toy()), (), Resources())


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
    with pytest.raises(ConfigError, match="one device"):
        FineTune(LORA, QUICK).tune(model, rows(toy()), (), Resources(devices=Devices(devices=2)))


def test_virtual_tokens_take_their_share_of_the_window():
    model = toy(window=16)
    row = [TrainingRow("0", [1] * 14, [1])]
    FineTune(LORA, QUICK).tune(model, row, (), Resources())
    with pytest.raises(ModelError, match="12 tokens"):
        FineTune(peft.PromptTuningConfig(num_virtual_tokens=4), QUICK).tune(model, row, (), Resources())


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


def test_qlora_trains_on_a_base_in_four_bits(tmp_path):
    pytest.importorskip("bitsandbytes", reason="the extra 'quantized' is not installed")
    model = toy()
    untuned = logits(model)
    tuning = FineTune(shipped("qlora"), QUICK)
    resources = Resources()
    tuned = tuning.tune(model, rows(model), rows(model), resources)
    assert tuned.module.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.dtype == torch.uint8
    assert resources.facts["best_validation_loss"] < 0.95 * loss(untuned, model)
    assert torch.equal(logits(model), untuned)
    tuning.save(tmp_path, tuned)
    assert torch.equal(logits(tuning.load(tmp_path, model, Resources())), logits(tuned))


def test_qlora_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ModelError, match=r"stepladder\[quantized\]"):
        FineTune(shipped("qlora"), QUICK).tune(toy(), rows(toy()), (), Resources())


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
