"""What a fit stores of an adapter is the function that was trained: in our own loading and in plain PEFT."""

import peft
import pytest
import torch
from toys import rows as toy_rows
from toys import toy

from stepladder.errors import ConfigError, ModelError
from stepladder.resources import Resources
from stepladder.tuning.batches import collate
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training

BRIEF = Training(epochs=1, batch_size=8, precision="float32", learning_rate=1e-2, patience=None)


def rows(model):
    return toy_rows(model, 6)


def losses(model):
    with torch.no_grad():
        return model.answer_losses(*collate(rows(model)))


def log_probabilities(model):
    """What prediction reads off the model: log-probabilities of three labels after each prompt."""
    prompts = [row.prompt_ids for row in rows(model)]
    scored = model.score(prompts, [("red", "green and blue", "no")] * len(prompts))
    return {index: scores.log_probabilities for index, scores in scored}


def lora(**settings):
    return peft.LoraConfig(**{"r": 4, "lora_alpha": 8, "target_modules": "all-linear", **settings})


def tied(dtype="float32"):
    model = toy(dtype=dtype)
    model.module.config.tie_word_embeddings = True
    model.module.tie_weights()
    return model


def biased(dtype="float32"):
    return toy(bias=True, dtype=dtype)


ADAPTERS = {
    **{f"init {start}": lora(init_lora_weights=start) for start in (True, False, "gaussian", "orthogonal", "mica")},
    **{
        f"init {start}": lora(init_lora_weights=start) for start in ("pissa", "pissa_niter_4", "pissa_niter_0", "olora")
    },
    "pissa, odd rank": lora(init_lora_weights="pissa_niter_2", r=3, lora_alpha=5),
    "pissa, rslora": lora(init_lora_weights="pissa_niter_4", use_rslora=True),
    "pissa, dora": lora(init_lora_weights="pissa_niter_4", use_dora=True),
    "olora, dora, rslora": lora(init_lora_weights="olora", use_dora=True, use_rslora=True),
    "pissa, patterns": lora(
        init_lora_weights="pissa_niter_4", rank_pattern={"q_proj": 2, "mlp.up_proj": 6}, alpha_pattern={"v_proj": 3}
    ),
    "olora, rslora, patterns": lora(
        init_lora_weights="olora", use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"q_proj": 3}
    ),
    "pissa, dropout": lora(init_lora_weights="pissa_niter_4", lora_dropout=0.2),
    "pissa, one module": lora(init_lora_weights="pissa_niter_4", target_modules=["q_proj"]),
    "pissa, a regular expression": lora(init_lora_weights="pissa", target_modules=r".*layers\.1\..*_proj"),
    "pissa, one layer": lora(init_lora_weights="pissa", target_modules=["v_proj"], layers_to_transform=[1]),
    "pissa, head": lora(init_lora_weights="pissa_niter_4", target_modules=["q_proj", "lm_head"]),
    "olora, head": lora(init_lora_weights="olora", target_modules=["lm_head", "down_proj"]),
    "pissa, modules_to_save": lora(
        init_lora_weights="pissa_niter_4", target_modules=["q_proj"], modules_to_save=["norm"]
    ),
    "embeddings": lora(target_modules=["embed_tokens", "q_proj"]),
    "pissa, embeddings": lora(init_lora_weights="pissa", target_modules=["embed_tokens", "q_proj"]),
    "tokens": lora(target_modules=["q_proj"], trainable_token_indices=[5, 9, 40]),
    "vera": peft.VeraConfig(r=8, target_modules=["q_proj"], save_projection=False),
    "randlora": peft.RandLoraConfig(r=8, target_modules=["q_proj"], save_projection=False),
    "fourierft": peft.FourierFTConfig(n_frequency=50, target_modules=["q_proj"]),
    "osf": peft.OSFConfig(target_modules=["q_proj"]),
    "prefix": peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, prefix_projection=False),
}
BIASED = {
    "lora_bias": lora(lora_bias=True),
    "pissa, bias all": lora(init_lora_weights="pissa_niter_4", bias="all"),
    "olora, bias lora_only": lora(init_lora_weights="olora", bias="lora_only"),
}
IN_BF16 = ("init pissa_niter_4", "init olora", "pissa, dora", "pissa, modules_to_save", "vera")
TIED = ("init olora", "pissa, head", "olora, head", "pissa, embeddings")
CASES = [
    *[pytest.param(toy, adapter, "float32", id=name) for name, adapter in ADAPTERS.items()],
    *[pytest.param(toy, ADAPTERS[name], "bf16", id=f"{name}, bf16") for name in IN_BF16],
    *[pytest.param(biased, adapter, "float32", id=name) for name, adapter in BIASED.items()],
    *[pytest.param(tied, ADAPTERS[name], "float32", id=f"{name}, tied") for name in TIED],
]


@pytest.mark.parametrize(("make", "adapter", "dtype"), CASES)
def test_trained_loaded_and_plain_peft_are_one_function(make, adapter, dtype, tmp_path):
    model = make(dtype=dtype)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    tuning = FineTune(adapter, BRIEF)
    tuned = tuning.tune(model, rows(model), rows(model), Resources(), seed=1)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    assert not torch.equal(losses(tuned), losses(model))
    tuning.save(tmp_path, tuned)

    torch.manual_seed(77)
    loaded = tuning.load(tmp_path, model, Resources())
    assert log_probabilities(loaded) == log_probabilities(tuned)

    torch.manual_seed(78)
    plain = peft.PeftModel.from_pretrained(make(dtype=dtype).module, str(tmp_path)).eval()
    kept, opened = tuned.module.state_dict(), plain.state_dict()
    assert kept.keys() == opened.keys()
    assert [name for name in kept if not torch.equal(kept[name], opened[name])] == []
    ids = torch.tensor([list(rows(model)[0].prompt_ids)])
    with torch.no_grad():
        own, others = tuned.module(ids).logits, plain(ids).logits
    torch.testing.assert_close(others, own, rtol=0, atol=1e-5 if dtype == "float32" else 0.05)


@pytest.mark.parametrize("dtype", ["float32", "bf16"])
@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_a_start_in_the_base_weights_begins_as_the_base_and_is_trained(start, dtype):
    model = toy(dtype=dtype)
    resources = Resources()
    tuned = FineTune(lora(init_lora_weights=start), BRIEF).tune(model, rows(model), rows(model), resources)
    begun = resources.report.figures
    assert begun["best_validation_loss"] < losses(model).mean().item()
    assert losses(tuned).mean().item() == pytest.approx(
        begun["best_validation_loss"], rel=1e-5 if dtype == "float32" else 0.02
    )


@pytest.mark.parametrize("start", ["eva", "corda", "lora_ga", "EVA"])
def test_a_start_that_needs_data_is_refused_by_name(start):
    with pytest.raises((ConfigError, ModelError), match=f"(?i){start}"):
        FineTune(lora(init_lora_weights=start), BRIEF).tune(toy(), rows(toy()), (), Resources())


def test_a_start_that_quantises_the_base_is_refused():
    adapter = lora(init_lora_weights="loftq", loftq_config=peft.LoftQConfig(loftq_bits=4))
    with pytest.raises(ConfigError, match="quantises the base"):
        FineTune(adapter, BRIEF).tune(toy(), rows(toy()), (), Resources())


def test_an_adapter_that_draws_again_when_it_is_loaded_is_refused(monkeypatch):
    """A method of PEFT that moves the base weights by random numbers and stores none of them."""
    from peft.tuners.lora import Linear

    start = Linear.update_layer

    def draw(self, *arguments, **named):
        start(self, *arguments, **named)
        weight = self.get_base_layer().weight
        weight.data = weight.data + torch.randn_like(weight) / 100

    monkeypatch.setattr(Linear, "update_layer", draw)
    with pytest.raises(ModelError, match="stores too little"):
        FineTune(lora(), BRIEF).tune(toy(), rows(toy()), (), Resources())
