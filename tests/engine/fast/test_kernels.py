"""What is compiled gives what PyTorch's own operations give, forwards and backwards; it can be done without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from stepladder.engine.fast import kernels
from stepladder.engine.fast.operations import gated, rms_norm, rotated
from stepladder.engine.fast.softmax import causal_weights, log_sum_exp, losses_and_gradient

NEAR = {torch.float32: 1e-6, torch.bfloat16: 8e-3}  # relative: rounding to bf16 is up to 2^-8 off, once or twice

needs_kernels = pytest.mark.skipif(
    sys.platform != "linux" or not any(map(shutil.which, kernels.COMPILERS)), reason="there is no compiler here"
)


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def norm(x):
    return rms_norm(x, drawn(x.shape[-1]).to(x.dtype), 1e-3)


def turned(x):
    angles = drawn(len(x), 1, 32)
    cos, sin = (part.repeat(1, 1, 2).to(x.dtype) for part in (angles.cos(), angles.sin()))
    heads = x.unflatten(1, (-1, 64))[:, 1:3]  # heads among others, as query and key are read together with value
    return rotated(heads, cos, sin).transpose(0, 1)


def learnt(operation, x, given):
    """What is found, and the gradient of x for a gradient of its own layout."""
    x = given.to(x.dtype).requires_grad_()
    found = operation(x)
    (back,) = torch.autograd.grad(found, x, drawn(*found.shape).to(x.dtype))
    return found.detach(), back


@needs_kernels
@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("operation", [norm, gated, turned])
@pytest.mark.parametrize("rows", [3, 700])  # one thread, and several
def test_the_compiled_path_equals_the_plain_one(operation, dtype, rows, monkeypatch):
    given, x = 3 * drawn(rows, 256), torch.empty(0, dtype=dtype)
    ours = *learnt(operation, x, given), operation(given.to(dtype))
    calls = []
    monkeypatch.setattr(kernels, "support", lambda *tensors: calls.append(tensors))  # None: they do not serve
    plain = *learnt(operation, x, given), operation(given.to(dtype))
    assert len(calls) == 3  # each was asked for: forwards, backwards, and without a gradient
    for found, wanted in zip(ours, plain, strict=True):
        assert found.dtype == wanted.dtype
        assert (found.float() - wanted.float()).norm() <= NEAR[dtype] * wanted.float().norm()


@needs_kernels
@pytest.mark.parametrize("operation", [norm, gated, turned])
def test_any_number_of_threads_gives_the_same(operation):
    given, threads = drawn(700, 256), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = learnt(operation, given, given)
        torch.set_num_threads(3)
        assert all(map(torch.equal, one, learnt(operation, given, given)))
    finally:
        torch.set_num_threads(threads)


@needs_kernels
@pytest.mark.parametrize("dtype", NEAR)
def test_what_is_no_number_stays_none(dtype):
    x = torch.tensor([[float("nan"), 1.0], [float("inf"), 0.0], [-200.0, 200.0]], dtype=dtype).repeat(1, 32)
    found = gated(x)
    assert found[0].isnan().any()
    assert found[1].isinf().any()
    assert found[2].isfinite().all()
    assert rms_norm(x, torch.ones(64, dtype=dtype), 1e-6)[0].isnan().all()


def test_what_they_do_not_serve():
    assert not kernels.support(torch.ones(2, 4, dtype=torch.float64))
    assert not kernels.support(torch.ones(2, 4), torch.ones(4, dtype=torch.bfloat16))
    assert not kernels.support(torch.ones(4, 2).T)


def asked(cache, **variables):
    """Whether a process of its own has kernels."""
    code = "from stepladder.engine.fast.kernels import kernels; print(kernels() is not None)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "STEPLADDER_CACHE": str(cache), **variables},
    )  # fmt: skip
    return done.stdout.strip() == "True"


@needs_kernels
def test_they_are_compiled_once_and_only_what_is_the_users_own_is_loaded(tmp_path):
    assert asked(tmp_path)
    (file,) = (tmp_path / "kernels").iterdir()
    made = file.stat().st_mtime_ns
    assert asked(tmp_path)
    assert file.stat().st_mtime_ns == made
    file.chmod(0o666)
    assert not asked(tmp_path)


@pytest.mark.parametrize("compiler", ["/nowhere/c++", "false"])
def test_without_a_compiler_there_are_none(compiler, tmp_path):
    assert not asked(tmp_path, CXX=compiler)
    assert not list(tmp_path.rglob("*.so"))


@needs_kernels
@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize(("prefix", "length"), [(0, 1), (5, 3), (24, 61), (16, 16), (1000, 40)])
def test_causal_weights_equal_the_plain_ones(dtype, prefix, length, monkeypatch):
    query, key = 3 * drawn(4, 3 * length, 16).to(dtype), drawn(4, prefix + length, 16).to(dtype)
    mask = torch.full((length, prefix + length), -torch.inf).triu(prefix + 1).repeat(3, 1).to(dtype)
    compiled, calls = kernels.causal_softmax, []
    monkeypatch.setattr(kernels, "causal_softmax", lambda *given: (calls.append(given), compiled(*given)))
    ours = causal_weights(query, key, mask, prefix, 0.125)
    assert len(calls) == (prefix + length <= kernels.CAUSAL_WIDTH)
    monkeypatch.setattr(kernels, "support", lambda *tensors: False)
    plain = causal_weights(query, key, mask, prefix, 0.125)
    assert ours.dtype == plain.dtype
    assert (ours == 0).equal(plain == 0)
    assert (ours.float() - plain.float()).abs().max() <= NEAR[dtype]


@needs_kernels
@pytest.mark.parametrize("dtype", NEAR)
def test_sums_and_losses_over_a_vocabulary_equal_the_plain_ones(dtype, monkeypatch):
    logits, targets = 4 * drawn(37, 1003).to(dtype), torch.arange(37) * 27
    wide = 4 * drawn(37, 2006).to(dtype)[:, :1003]
    calls = (
        lambda: [log_sum_exp(logits), log_sum_exp(wide)],
        lambda: losses_and_gradient(logits.clone(), targets, True),
        lambda: losses_and_gradient(logits.clone(), targets, False)[:1],
    )
    ours = [found for call in calls for found in call()]
    rounded = torch.tensor([[3000.0, 2997.0, 2999.0]])  # a sum that is told with its logits' highest is rounded with it
    torch.testing.assert_close(
        losses_and_gradient(rounded.clone(), torch.tensor([0]), False)[0],
        losses_and_gradient(rounded.double(), torch.tensor([0]), False)[0],
        check_dtype=False, rtol=0, atol=1e-6,
    )  # fmt: skip
    monkeypatch.setattr(kernels, "support", lambda *tensors: False)
    for found, wanted in zip(ours, [found for call in calls for found in call()], strict=True):
        assert found.dtype == wanted.dtype
        assert (found.float() - wanted.float()).norm() <= NEAR[found.dtype] * wanted.float().norm()


@needs_kernels
def test_logits_that_are_no_number_have_a_loss_that_is_none():
    logits = torch.tensor([[1.0, float("nan"), 0.0], [1.0, 2.0, 3.0]])
    losses, _ = losses_and_gradient(logits, torch.tensor([0, 1]), True)
    assert losses.isnan().tolist() == [True, False]


@needs_kernels
def test_a_target_that_is_no_token_has_a_loss_that_is_no_number_and_touches_nothing():
    whole = torch.zeros(3, 8)
    losses, _ = losses_and_gradient(whole[:2], torch.tensor([11, -1]), True)
    assert losses.isnan().all()
    assert not whole.any()


@needs_kernels
@pytest.mark.parametrize("dtype", NEAR)
@pytest.mark.parametrize("width", [64, 75])
def test_the_highest_place_of_those_allowed(dtype, width):
    logits, at = (4 * drawn(9, width)).to(dtype), torch.tensor([8, 0, 3, 3])
    logits[0] = float("nan")
    logits[3, 5:9] = 100.0  # the first of several
    assert kernels.highest_place(logits, at[[0, 2, 3]], None).tolist() == logits[at[[0, 2, 3]]].argmax(dim=1).tolist()
    allowed = drawn(4, width) > 0.5
    allowed[3] = False
    allowed[3, width - 1] = True
    bits = np.packbits(np.pad(allowed.numpy(), ((0, 0), (0, -width % 32))), axis=1, bitorder="little").view(np.int32)
    found = kernels.highest_place(logits, at, torch.from_numpy(bits))
    assert found.tolist() == logits[at].nan_to_num().masked_fill(~allowed, -torch.inf).argmax(dim=1).tolist()
