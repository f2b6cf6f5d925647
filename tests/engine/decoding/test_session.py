"""Decoding sessions of every kind give what the model's own forward pass gives of each row alone."""

from __future__ import annotations

import peft
import pytest
import torch
import transformers
from test_scoring import ARCHITECTURES, LABELS, SHAPE, from_configuration

from stepladder.engine.decoding import session as sessions
from stepladder.engine.decoding.session import DecodingSession, Prefix, shared_prefix
from stepladder.engine.fast import network as networks
from stepladder.engine.fast.attention import Rows
from stepladder.engine.fast.matrix import Matrix, PrepackedWeights
from stepladder.engine.fast.network import FastNetwork
from stepladder.models.toy import ToyCheckpoint
from stepladder.tuning import adapters
from stepladder.tuning.weights import shared_copy

PREFIX = [101, 102, 103, 104]
PROMPTS = [[*PREFIX, 70, 71, 72], [*PREFIX, 80], [*PREFIX, *range(20, 33)]]
SUPPORTED = {
    "llama": transformers.LlamaConfig(**SHAPE),
    "llama with biases": transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "mistral": transformers.MistralConfig(**SHAPE, sliding_window=None, head_dim=8),
    "qwen2": ARCHITECTURES["full attention"],
    "qwen3": transformers.Qwen3Config(**SHAPE, head_dim=16),
}
OTHERS = {
    "granite": ARCHITECTURES["divided logits"],
    "gelu": transformers.LlamaConfig(**SHAPE, hidden_act="gelu"),
}


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def alone(network: FastNetwork, ids):
    return network.causal.base_model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def close(found, wanted):
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


SLOTS = ["slots", "slots, prefix copied", "slots, prefix beside"]


@pytest.fixture(params=[*SLOTS, *(f"{kind}, passes of few shapes" for kind in SLOTS)])
def started(request, monkeypatch):
    network = ToyCheckpoint().load().engine.network
    if "passes of few shapes" in request.param:  # as on a GPU, where they are replayed
        monkeypatch.setattr(sessions, "at_once", lambda body: 0)
        monkeypatch.setattr(DecodingSession, "_replays", True)
        monkeypatch.setattr(DecodingSession, "_graphs", lambda self, shape, compute, inputs: compute(*inputs))
    if "beside" in request.param:
        monkeypatch.setattr(sessions, "COPIED", 3)
    kept = shared_prefix(network, PROMPTS) if "prefix" in request.param else Prefix()
    return network, DecodingSession(network, kept, 3, 30)


def suffixes(session):
    return [prompt[len(session.prefix.tokens) :] for prompt in PROMPTS]


def test_rows_read_their_prompts_and_go_on(started):
    network, session = started
    close(session.read(suffixes(session)), torch.stack([alone(network, p)[-1] for p in PROMPTS]))
    more = [[50, 51], [52], [54, 55, 56]]
    found = session.advance(more).split([2, 1, 3])
    for of_row, prompt, own in zip(found, PROMPTS, more, strict=True):
        close(of_row, alone(network, prompt + own)[-len(own) :])


def test_new_rows_begin_while_others_go_on(started):
    network, session = started
    first, second, third = suffixes(session)
    session.read([first, second])
    found = session.advance([[50, 51], [52]], [third])
    close(found[:2], alone(network, [*PROMPTS[0], 50, 51])[-2:])
    close(found[2], alone(network, [*PROMPTS[1], 52])[-1])
    close(found[3], alone(network, PROMPTS[2])[-1])
    found = session.advance([[60], [61], [62]])
    for of_row, whole in zip(found, ([*PROMPTS[0], 50, 51, 60], [*PROMPTS[1], 52, 61], [*PROMPTS[2], 62]), strict=True):
        close(of_row, alone(network, whole)[-1])


def test_steps_on_a_gpu_have_few_shapes(monkeypatch):
    shapes = []
    monkeypatch.setattr(sessions, "at_once", lambda body: 0)
    monkeypatch.setattr(DecodingSession, "_replays", True)
    monkeypatch.setattr(
        DecodingSession, "_graphs", lambda self, shape, compute, inputs: shapes.append(shape) or compute(*inputs)
    )
    session = DecodingSession(ToyCheckpoint().load().engine.network, Prefix(), 4, 300)
    session.read(PROMPTS)
    assert not shapes
    for more in ([[50]] * 3, [[51]] * 3, [[58], [59], [60] * 9]):
        session.advance(more)
    assert shapes == [(256,), (256,)]
    with pytest.raises(IndexError, match="5 rows in 4 slots"):
        session.read([[1], [2]])
    assert len(session.lengths) == 3


def test_removed_tokens_leave_no_trace(started):
    network, session = started
    session.read(suffixes(session))
    session.advance([[50, 51], [52], [54, 55, 56]])
    session.forget([1, 0, 3])
    found = session.advance([[60, 61], [62], [63]]).split([2, 1, 1])
    for of_row, prompt, own in zip(found, PROMPTS, ([50, 60, 61], [52, 62], [63]), strict=True):
        close(of_row, alone(network, prompt + own)[-len(of_row) :])


def test_rows_that_are_kept_go_on_in_their_new_order(started):
    network, session = started
    session.read(suffixes(session))
    session.advance([[50], [52], [54]])
    session.keep([2, 1])
    found = session.advance([[60], [61]])
    close(found[0], alone(network, [*PROMPTS[2], 54, 60])[-1])
    close(found[1], alone(network, [*PROMPTS[1], 52, 61])[-1])


def test_tokens_of_a_tree_attend_to_their_ancestors_only(started):
    network, session = started
    session.read(suffixes(session))
    among = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 1, 1]]).bool()
    ids = torch.tensor([[50, 51, 52, 53, 54]]).expand(3, -1)
    depth = torch.tensor([[0, 1, 1, 0, 1]]).expand(3, -1)
    found = session.extend(ids, depth, among.expand(3, -1, -1))
    for row, prompt in enumerate(PROMPTS):
        for node, path in enumerate([[50], [50, 51], [50, 52], [53], [53, 54]]):
            close(found[row, node], alone(network, prompt + path)[-1])


@pytest.mark.parametrize("copied", [0, 128])
def test_new_rows_take_the_slots_of_others(monkeypatch, copied):
    monkeypatch.setattr(sessions, "COPIED", copied)
    network = ToyCheckpoint().load().engine.network
    prefix = shared_prefix(network, PROMPTS)
    session = DecodingSession(network, prefix, 3, 30)
    assert isinstance(session, DecodingSession)
    session.read([prompt[4:] for prompt in PROMPTS])
    session.keep([0, 2])
    late = [*PREFIX, 90, 91]
    close(session.read([late[4:]])[0], alone(network, late)[-1])
    found = session.advance([[50], [54], [92]])
    for row, whole in enumerate(([*PROMPTS[0], 50], [*PROMPTS[2], 54], [*late, 92])):
        close(found[row], alone(network, whole)[-1])


@pytest.mark.parametrize("few", [0, 100], ids=["joined", "in place"])
def test_few_and_many_tokens_attend_to_the_prefix_alike(monkeypatch, few):
    monkeypatch.setattr(sessions, "FEW", few)
    monkeypatch.setattr(sessions, "COPIED", 3)
    network = ToyCheckpoint().load().engine.network
    session = DecodingSession(network, shared_prefix(network, PROMPTS), 3, 30)
    close(session.read([p[4:] for p in PROMPTS]), torch.stack([alone(network, p)[-1] for p in PROMPTS]))
    found = session.advance([[50, 51, 52]] * 3)
    close(found[3:6], alone(network, [*PROMPTS[1], 50, 51, 52])[-3:])


def test_the_shared_prefix_of_prompts():
    network = ToyCheckpoint().load().engine.network
    assert shared_prefix(network, PROMPTS).tokens == PREFIX
    assert shared_prefix(network, PROMPTS).columns == 4
    assert shared_prefix(network, [[1, 2, 3], [1, 2, 3]]).tokens == [1, 2]
    assert shared_prefix(network, [[1, 2], [3]]).tokens == []
    assert shared_prefix(network, [[1, 2, 3]]).kept is None
    assert shared_prefix(network, []).tokens == []


@pytest.mark.parametrize("name", SUPPORTED)
def test_the_fused_decoder_is_equal_to_the_model(name):
    network = from_configuration(SUPPORTED[name]).engine.network
    body = network.decoder()
    assert body is not None
    session = DecodingSession(network, Prefix(), 3, 30)
    close(session.read(PROMPTS), torch.stack([alone(network, p)[-1] for p in PROMPTS]))
    close(session.logits(session.advance([[50], [51], [52]])[:1]), network.causal(
        torch.tensor([[*PROMPTS[0], 50]])).logits[0, -1:])  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_architectures_have_no_fused_decoder(name):
    assert from_configuration(OTHERS[name]).engine.network.decoder() is None


@pytest.mark.parametrize("more", [{}, {"use_rslora": True}], ids=["lora", "rslora"])
def test_the_fused_decoder_contains_the_adapter_and_follows_its_changes(more):
    from stepladder.tuning.adapters import attach

    model = ToyCheckpoint().load()
    base = dict(model.score(PROMPTS, [LABELS] * 3))
    tuned = attach(model, peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **more))
    network = tuned.engine.network
    body = network.decoder()
    assert body is not None
    assert network.decoder() is body
    first = dict(tuned.score(PROMPTS, [LABELS] * 3))
    assert first[0].log_probabilities != pytest.approx(base[0].log_probabilities, abs=1e-2)
    close(DecodingSession(network, Prefix(), 1, 20).read(PROMPTS[:1])[0], alone(network, PROMPTS[0])[-1])
    for parameter in tuned.module.parameters():
        if parameter.requires_grad:
            parameter.mul_(1.5)
    assert network.decoder() is not body
    close(DecodingSession(network, Prefix(), 1, 20).read(PROMPTS[:1])[0], alone(network, PROMPTS[0])[-1])
    attached = attach(model, peft.LoraConfig(r=4, target_modules="all-linear", use_dora=True))
    assert attached.engine.network.decoder() is None


def test_a_fused_decoder_that_computes_something_else_is_not_used(monkeypatch):
    class Wrong(networks.FusedDecoder):
        def __call__(self, ids, positions, pattern, wanted=None):
            return super().__call__(ids, positions, pattern, wanted) * 1.01

    monkeypatch.setattr(networks, "FusedDecoder", Wrong)
    assert ToyCheckpoint().load().engine.network.decoder() is None


def test_frozen_matrices_are_prepacked_once_for_all_models_tuned_from_one_base():
    base = ToyCheckpoint().load()
    base.module.requires_grad_(False)
    first, second = (base.adapted(shared_copy(base.module)) for _ in range(2))
    one, two = first.engine.network.decoder(), second.engine.network.decoder()
    for ours, theirs in zip(one.layers, two.layers, strict=True):
        for a, b in zip(ours.linears, theirs.linears, strict=True):
            assert a.matrix.packed is not None
            assert a.matrix.packed is b.matrix.packed


def test_a_matrix_that_is_trained_or_was_changed_is_packed_anew():
    weight, packs = torch.nn.Parameter(torch.randn(8, 8), requires_grad=False), PrepackedWeights()
    x = torch.randn(2, 8)
    assert Matrix([weight], None, packs).packed is Matrix([weight], None, packs).packed
    weight.mul_(2)
    close(Matrix([weight], None, packs).times(x), x @ weight.T)
    weight.requires_grad_(True)
    weight.data.mul_(2)  # unseen, as a fused optimiser does it
    close(Matrix([weight], None, packs).times(x), x @ weight.T)
    both = Matrix([weight, weight * 3], None, packs, both=True)
    close(both.back(both.times(x)), x @ weight.T @ weight + 9 * x @ weight.T @ weight)


def test_weights_that_stay_where_they_are_give_what_joined_ones_give():
    weights, bias, x, y = [torch.randn(8, 6), torch.randn(3, 6)], torch.randn(11), torch.randn(5, 6), torch.randn(5, 11)
    joined, apart = (Matrix(weights, bias) for _ in range(2))
    apart.weights = weights  # as on a GPU
    close(apart.times(x), joined.times(x))
    close(apart.times(x, y.clone()), joined.times(x, y.clone()))
    close(apart.back(y), joined.back(y))


def test_the_memory_of_packed_weights_is_held_when_a_parameter_is_put_elsewhere():
    weight, packs = torch.nn.Parameter(torch.randn(8, 8), requires_grad=False), PrepackedWeights()
    Matrix([weight], None, packs)
    place = weight.data_ptr()
    weight.data = torch.randn(8, 8)
    ((held, _),) = packs._kept.values()
    assert [memory.data_ptr() for memory in held] == [place]


def test_changes_of_a_model_after_a_pass_are_noticed():
    base = ToyCheckpoint().load()
    base.module.requires_grad_(False)
    adapter = peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    torch.manual_seed(0)
    model = adapters.attach(base, adapter)
    network = model.engine.network

    def now():
        with torch.no_grad():
            body = network.decoder()
            assert body is not None
            ids = torch.arange(5, 11)
            return body(ids, torch.arange(6), Rows([6], 0, ids.device))

    first = now()
    model.module.add_adapter("second", adapter)
    model.module.set_adapter("second")
    model.module.requires_grad_(False)
    second = now()
    assert not torch.allclose(first, second)
    layer = network.causal.base_model.layers[0].input_layernorm
    layer.weight = torch.nn.Parameter(2 * layer.weight.detach(), requires_grad=False)
    assert not torch.allclose(second, now())
