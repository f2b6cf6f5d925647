"""Scores of all candidates at once are those of one candidate at a time."""

from __future__ import annotations

from collections.abc import Sequence

import peft
import pytest
import torch
import transformers

from stepladder.engine.decoding.engine import in_batches
from stepladder.engine.decoding.scoring import Trie
from stepladder.engine.select import create_engine
from stepladder.engine.values import VirtualTokens
from stepladder.errors import ModelError
from stepladder.models.chat import Chat
from stepladder.models.local import CausalModel
from stepladder.models.toy import ToyCheckpoint, toy_tokenizer

LABELS = ("no", "note", "notes of a meeting", "yes", "")
PROMPTS = [[70, 71, 72, 73, 74], [80], list(range(100, 130))]


@pytest.fixture(scope="module")
def model() -> CausalModel:
    return ToyCheckpoint().load()


def plainly(model: CausalModel, prompt: Sequence[int], label: str, forward=None) -> float:
    """One label after one prompt, by the network's own forward."""
    answer = model.encode_answer(label)
    with torch.no_grad():
        logits = (forward or model.module)(input_ids=torch.tensor([[*prompt, *answer]])).logits[0]
    logs = logits[-len(answer) - 1 : -1].float().log_softmax(-1)
    return float(logs[torch.arange(len(answer)), torch.tensor(answer)].sum())


def check(model: CausalModel, prompts, candidates, forward=None, **how) -> None:
    found = dict(model.score(prompts, candidates, **how))
    assert sorted(found) == list(range(len(prompts)))
    for index, prompt in enumerate(prompts):
        wanted = [plainly(model, prompt, label, forward) for label in candidates[index]]
        assert found[index].log_probabilities == pytest.approx(wanted, abs=1e-4)
        assert found[index].lengths == tuple(len(model.encode_answer(label)) for label in candidates[index])


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_equals_one_label_at_a_time(model, micro_batch):
    check(model, PROMPTS, [LABELS] * 3, micro_batch=micro_batch)


def test_rows_may_bring_their_own_candidates(model):
    check(model, PROMPTS, [("a", "ab"), ("only one",), ("", "no", "yes", "yes", "no way")])


def test_adding_a_candidate_changes_no_other(model):
    (_, few), (_, many) = [*model.score(PROMPTS[:1], [LABELS[:2]]), *model.score(PROMPTS[:1], [LABELS])]
    assert many.log_probabilities[:2] == pytest.approx(few.log_probabilities, abs=1e-5)


def test_low_rank_adapters_count(model):
    config = peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    wrapped = peft.get_peft_model(ToyCheckpoint().load().module, config).eval()
    check(model.adapted(wrapped), PROMPTS, [LABELS] * 3, forward=wrapped)
    assert plainly(model, PROMPTS[0], "no") != pytest.approx(plainly(model, PROMPTS[0], "no", wrapped), abs=1e-2)


@pytest.mark.parametrize("kind", [peft.PromptTuningConfig, peft.PrefixTuningConfig])
def test_virtual_tokens_count(model, kind):
    wrapped = peft.get_peft_model(ToyCheckpoint().load().module, kind(num_virtual_tokens=5, task_type="CAUSAL_LM"))
    wrapped.eval()
    with torch.no_grad():
        for parameter in wrapped.prompt_encoder.parameters():
            parameter.mul_(10).add_(0.3)

    def virtual(batch: int) -> VirtualTokens:
        got = wrapped.get_prompt(batch)
        return VirtualTokens(5, got) if isinstance(got, torch.Tensor) else VirtualTokens(5, cache=got)

    adapted = model.adapted(wrapped, virtual)
    check(adapted, PROMPTS, [LABELS] * 3, forward=wrapped)
    assert adapted.window == model.window - 5
    free = dict(adapted.generate(PROMPTS, 12))
    alone = dict(adapted.generate(PROMPTS, 12, micro_batch=1))
    assert {index: done.text for index, done in free.items()} == {index: done.text for index, done in alone.items()}
    ids = torch.tensor([PROMPTS[0] + [90, 91, 1]])
    answer = torch.zeros_like(ids, dtype=torch.bool)
    answer[0, 5:] = True
    with torch.no_grad():
        ours, theirs = adapted.answer_losses(ids, torch.ones_like(answer), answer), wrapped(input_ids=ids).logits
    theirs = torch.nn.functional.cross_entropy(theirs[0, -4:-1], ids[answer], reduction="none")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_a_prompt_that_does_not_fit_is_an_error(model):
    small = ToyCheckpoint(window=32).load()
    with pytest.raises(ModelError, match="window of 32"):
        list(small.score([[70] * 30], [["four"]]))
    with pytest.raises(ModelError, match="Prompt 1"):
        list(small.generate([[70] * 10, [70] * 32], 4))


def test_common_prefixes_of_candidates_are_read_once():
    trie = Trie.of([[1, 2, 9], [1, 2, 3, 9], [4, 9], [1, 2, 9]])
    assert trie.tokens == (1, 2, 3, 4)
    assert trie.depth == (0, 1, 2, 0)
    assert trie.ancestors.tolist()[2] == [True, True, True, False]
    assert len(trie.edge_tokens) == 4 + 3
    assert trie.paths[0] == trie.paths[3]


def test_batches_hold_every_row_once_and_stay_small():
    lengths = [5, 4000, 10, 3000, 7]
    batches = in_batches(lengths, lengths, None)
    assert sorted(index for batch in batches for index in batch) == [0, 1, 2, 3, 4]
    assert batches[0] == [1, 3]
    assert all(max(lengths[i] for i in batch) * len(batch) <= 8192 for batch in batches)
    assert [len(batch) for batch in in_batches(lengths, lengths, 2)] == [2, 2, 1]


SHAPE = {
    "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip
ARCHITECTURES = {
    "full attention": transformers.Qwen2Config(**SHAPE),
    "sliding everywhere": transformers.MistralConfig(**SHAPE, sliding_window=6, head_dim=8),
    "sliding in turns, capped logits": transformers.Gemma2Config(
        **SHAPE, head_dim=8, sliding_window=6, query_pre_attn_scalar=8, final_logit_softcapping=0.5
    ),
    "divided logits": transformers.GraniteConfig(**SHAPE, logits_scaling=8.0, embedding_multiplier=2.0),
    "scaled logits": transformers.CohereConfig(**SHAPE, logit_scale=0.1),
    "learnt positions": transformers.GPT2Config(
        vocab_size=261, n_embd=32, n_layer=2, n_head=4, n_positions=512, bos_token_id=None, eos_token_id=1
    ),
}


def from_configuration(config: transformers.PreTrainedConfig) -> CausalModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = transformers.AutoModelForCausalLM.from_config(config).eval()
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(3)
    return CausalModel(create_engine(module), Chat(toy_tokenizer()))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures(name):
    model = from_configuration(ARCHITECTURES[name])
    check(model, PROMPTS, [LABELS] * 3)
