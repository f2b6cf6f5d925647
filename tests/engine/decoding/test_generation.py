"""Written answers: the network's own greedy text, whatever the batch; drawn text by seed and row."""

from __future__ import annotations

import pytest
import torch

from stepladder.models.local import CausalModel
from stepladder.models.toy import ToyCheckpoint
from stepladder.types import Message

ASKED = ("hello there", "x", "a question that is rather longer than the others")


@pytest.fixture(scope="module", params=[64, 128], ids=["fused decoder", "fused step where there is one"])
def model(request) -> CausalModel:
    return ToyCheckpoint(hidden=request.param).load()


@pytest.fixture(scope="module")
def prompts(model) -> list[list[int]]:
    return [model.encode([Message("user", text)]) for text in ASKED]


def ending(end: int) -> CausalModel:
    """A model that is likely to end soon, each row after a time of its own."""
    model = ToyCheckpoint().load()
    with torch.no_grad():
        model.module.lm_head.weight[end] *= 4
    return model


def test_greedy_equals_transformers(model, prompts):
    model = ending(1)
    found = dict(model.generate(prompts, 40))
    for index, prompt in enumerate(prompts):
        ids = torch.tensor([prompt])
        own = model.module.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
        written = own[0, len(prompt) :].tolist()
        assert found[index].text == model.chat.decode(written)
        assert found[index].new_tokens == len(written)
        assert found[index].finished == (written[-1] == 1)
    assert len({done.new_tokens for done in found.values()}) > 1, "the rows should end at different steps"


@pytest.mark.parametrize("temperature", [None, 1.0])
def test_the_batch_changes_nothing(model, prompts, temperature):
    runs = [dict(model.generate(prompts, 20, temperature, seed=3, micro_batch=size)) for size in (1, 2, 3)]
    texts = [{index: done.text for index, done in run.items()} for run in runs]
    assert texts[0] == texts[1] == texts[2]


def test_the_seed_draws_the_text_and_rows_draw_apart(model, prompts):
    def drawn(seed: int) -> list[str]:
        return [done.text for _, done in sorted(model.generate([prompts[0]] * 2, 20, temperature=1.0, seed=seed))]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1)[0] != drawn(1)[1]


def test_draws_follow_the_networks_probabilities():
    model = ToyCheckpoint().load()  # sure enough that one token stands out
    prompt = model.encode([Message("user", ASKED[1])])
    with torch.no_grad():
        wanted = (model.module(torch.tensor([prompt])).logits[0, -1] / 0.5).softmax(-1)
    likeliest = int(wanted.argmax())
    runs = 400
    texts = [done.text for _, done in model.generate([prompt] * runs, 1, temperature=0.5, seed=0)]
    share = sum(text == model.chat.decode([likeliest]) for text in texts) / runs
    assert share >= float(wanted[likeliest]) - 0.1
    assert share <= float(wanted[likeliest]) + 0.1 + float(wanted.sort().values[-2])


def test_length_and_window_are_kept(prompts):
    model = ToyCheckpoint(window=40).load()
    prompt = list(range(70, 105))
    ((_, done),) = model.generate([prompt], 20)
    assert done.new_tokens <= 5
    assert not done.finished


def test_any_end_that_the_model_knows_ends_a_row(prompts):
    model = ending(200)
    model.module.generation_config.eos_token_id = [1, 200]
    found = dict(model.generate(prompts, 60))
    assert any(done.finished for done in found.values())
