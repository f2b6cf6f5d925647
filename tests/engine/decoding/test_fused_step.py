"""A compiled step of few tokens gives what the fused decoder gives, by vectors and tiles, with any count of threads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter

import peft
import pytest
import torch
import transformers
from test_scoring import from_configuration

from stepladder.engine.decoding import session as sessions
from stepladder.engine.decoding.generation import generate
from stepladder.engine.decoding.session import DecodingSession, shared_prefix
from stepladder.engine.fast import kernels
from stepladder.engine.sampling import Sampling
from stepladder.models.local import CausalModel
from stepladder.tuning.adapters import attach

SHAPE = {
    "vocab_size": 261, "hidden_size": 192, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "bos_token_id": None, "eos_token_id": 1,
    "pad_token_id": 0,
}  # fmt: skip
SUPPORTED = {
    "llama": transformers.LlamaConfig(**SHAPE),
    "with biases": transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True),
    "a head for itself": transformers.LlamaConfig(**{**SHAPE, "num_key_value_heads": 6}),
    "many heads of one key": transformers.LlamaConfig(**{**SHAPE, "num_key_value_heads": 1}),
    "norms of heads": transformers.Qwen3Config(**SHAPE),
    "biases of keys": transformers.Qwen2Config(**SHAPE),
}
needs_kernels = pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, kernels.COMPILERS)), reason="there is no compiler here"
)
NEAR = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
PREFIX = [*range(3, 40)]
PROMPTS = [[*PREFIX, 70, 71, 72], [*PREFIX, 80], [*PREFIX, *range(20, 53)]]

pytestmark = [
    needs_kernels,
    pytest.mark.skipif(
        kernels.kernels() is None or not kernels.steps_at_once(torch.float32), reason="vectors are shorter here"
    ),
]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def model_of(config, dtype, tuned=False) -> CausalModel:
    if not kernels.steps_at_once(dtype):
        pytest.skip(f"no products of {dtype} here")
    model = from_configuration(config)
    if tuned:
        torch.manual_seed(0)
        model = attach(model, peft.LoraConfig(r=5, target_modules="all-linear", init_lora_weights=False))
    model.module.to(dtype)
    return model


def read_on(model, prefix=True):
    """Hidden states of rows that go on, forget, part, take a new row in, and read a tree, then alone."""
    network = model.engine.network
    kept = shared_prefix(network, PROMPTS) if prefix else shared_prefix(network, PROMPTS[:1])
    own = [prompt[len(kept.tokens) :] for prompt in PROMPTS]
    session = DecodingSession(network, kept, 3, 120)
    found = [session.read(own), session.advance([[50, 51], [52], list(range(60, 81))])]
    session.forget([1, 0, 3])
    session.keep([2, 1])
    found += [session.read([[90, 91, 92]]), session.advance([[53], [54], [55]])]
    among = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]).bool().expand(3, -1, -1)
    tree = torch.tensor([[61, 62, 63, 64]]).expand(3, -1), torch.tensor([[0, 1, 1, 0]]).expand(3, -1)
    found.append(session.extend(*tree, among).flatten(0, 1))
    session.keep([1])
    return [*found, session.extend(*(part[:1] for part in (*tree, among))).flatten(0, 1)]


@pytest.fixture
def both(monkeypatch):
    """What the compiled steps and what the body gives, and how many steps there were."""

    def found(model, **given):
        counts, step = Counter(), kernels.step
        monkeypatch.setattr(kernels, "step", lambda *pass_: (counts.update("s"), step(*pass_)))
        ours = read_on(model, **given)
        steps = 6 if given.get("prefix", True) else 5  # without one the first read has too many tokens for vectors
        assert counts["s"] == steps
        monkeypatch.setattr(kernels, "steps_at_once", lambda dtype: 0)
        plain = read_on(model, **given)
        assert counts["s"] == steps
        return ours, plain

    return found


def assert_near(ours, plain):
    for found, wanted in zip(ours, plain, strict=True):
        assert found.dtype == wanted.dtype
        assert (found.float() - wanted.float()).norm() <= NEAR[found.dtype] * wanted.float().norm()


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("tuned", [False, True], ids=["base", "tuned"])
@pytest.mark.parametrize("name", SUPPORTED)
def test_a_step_equals_the_fused_decoder(name, tuned, dtype, both):
    assert_near(*both(model_of(SUPPORTED[name], dtype, tuned)))


@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("copied", [0, 128], ids=["beside", "copied"])
def test_a_prefix_beside_the_slots_is_seen_like_one_in_them(copied, dtype, both, monkeypatch):
    monkeypatch.setattr(sessions, "COPIED", copied)
    assert_near(*both(model_of(SUPPORTED["llama"], dtype)))


def test_rows_without_a_prefix(both):
    assert_near(*both(model_of(SUPPORTED["llama"], torch.float32), prefix=False))


@pytest.mark.parametrize("dtype", NEAR)
def test_any_number_of_threads_gives_the_same_step(dtype):
    model, threads = model_of(SUPPORTED["llama"], dtype, tuned=True), torch.get_num_threads()
    session = DecodingSession(model.engine.network, shared_prefix(model.engine.network, PROMPTS[:1]), 3, 120)
    session.read(PROMPTS)
    found = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(session.advance([[50, 51], [52], [54]]))
            session.forget([2, 1, 1])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_a_place_that_is_not_there_is_not_written_to():
    model = model_of(SUPPORTED["llama"], torch.float32)
    session = DecodingSession(model.engine.network, shared_prefix(model.engine.network, PROMPTS[:1]), 3, 90)
    session.read(PROMPTS)
    before = session.advance([[50]] * 3)
    session.forget([1] * 3)
    for row in range(3):
        with pytest.raises(IndexError):
            session.advance([[50] * (60 if row == at else 1) for at in range(3)])
    assert torch.equal(before, session.advance([[50]] * 3))


def test_a_row_does_not_depend_on_the_rows_beside_it():
    model = model_of(SUPPORTED["llama"], torch.bfloat16)
    session = DecodingSession(model.engine.network, shared_prefix(model.engine.network, PROMPTS[:1]), 40, 60)
    session.read([PROMPTS[0]] * 40)
    many = session.advance([[50]] * 40)
    session.forget([1] * 40)
    session.keep([0])
    assert torch.equal(many, session.advance([[50]]).expand(40, -1))


def test_rows_begin_in_a_step_of_others_and_write_what_they_write_alone(monkeypatch):
    model = model_of(SUPPORTED["llama"], torch.float32)
    prompts = [[*PREFIX, *range(60, 60 + n)] for n in range(1, 13)]
    budgets = [3 + 5 * n % 17 for n in range(12)]

    def texts(rows, slots):
        found = generate(model.engine.network, [prompts[n] for n in rows], [(slots, range(len(rows)))],
                         [budgets[n] for n in rows], Sampling(None, 0), frozenset())  # fmt: skip
        return [model.chat.decode(row.ids) for _, row in sorted(found, key=lambda pair: pair[0])]

    begun = []
    advance = sessions.DecodingSession.advance

    def counted(self, tokens, prompts=()):
        begun.append(len(prompts))
        return advance(self, tokens, prompts)

    monkeypatch.setattr(sessions.DecodingSession, "advance", counted)
    together = texts(range(12), 5)
    assert sum(begun) == 7  # all but the five that begin
    assert together == [text for n in range(12) for text in texts([n], 1)]


@pytest.mark.parametrize(
    "other", [{"hidden_size": 198}, {"head_dim": 16}, {"intermediate_size": 168}], ids=lambda other: str(other)
)
def test_other_widths_are_left_to_the_fused_decoder(other, monkeypatch):
    model = model_of(SUPPORTED["llama"], torch.float32)
    monkeypatch.setattr(kernels, "step", None)
    with pytest.raises(TypeError):
        read_on(model)
    read_on(model_of(transformers.LlamaConfig(**{**SHAPE, **other}), torch.float32))


@pytest.mark.skipif(not kernels.steps_at_once(torch.bfloat16), reason="no products of bf16 here")
@pytest.mark.parametrize("compiler", ["c++ -mno-amx-bf16", "c++ -mno-avx512bf16 -mno-amx-bf16", "c++ -mno-avx512f"])
def test_processors_that_have_less(compiler, tmp_path):
    """The kernels are compiled as for a lesser processor, by whose products these tests pass, or are skipped."""
    names = "test_a_step_equals_the_fused_decoder and llama or depend or beside or other_widths"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", names], capture_output=True,
        text=True, check=False, env={**os.environ, "CXX": compiler, "STEPLADDER_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
