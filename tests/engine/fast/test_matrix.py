"""Prepacked matrices give the products of plain ones, whatever the shapes and however many threads."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from stepladder.engine.fast import kernels
from stepladder.engine.fast import matrix as matrix_room
from stepladder.engine.fast.matrix import Blocks, Matrix, PrepackedWeights
from stepladder.engine.precision import has_bf16

NEAR = {torch.float32: 1e-5, torch.bfloat16: 1e-2}
needs_bf16 = pytest.mark.skipif(not has_bf16("cpu"), reason="a processor without bf16 products computes in float32")
DTYPES = [torch.float32, pytest.param(torch.bfloat16, marks=needs_bf16)]


@pytest.fixture(autouse=True)
def no_gradients():
    with torch.no_grad():
        yield


def drawn(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def assert_near(ours, plain):
    assert ours.dtype == plain.dtype
    assert ours.shape == plain.shape
    assert (ours.float() - plain.float()).norm() <= NEAR[ours.dtype] * plain.float().norm()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 15, 16, 17, 31, 32, 33, 47, 95, 700])
@pytest.mark.parametrize(("ins", "parts"), [(64, [40]), (96, [64, 32, 32]), (672, [41, 7]), (50, [30, 12])])
def test_products_of_packed_matrices(ins, parts, rows, dtype):
    weights, outs = [drawn(out, ins, dtype=dtype) for out in parts], sum(parts)
    bias, onto, x = (drawn(*shape, dtype=dtype) for shape in ((outs,), (rows, outs), (rows, ins)))
    matrix = Matrix(weights, bias, PrepackedWeights(), both=True)
    plain = linear(x, torch.cat(weights), bias)
    assert_near(matrix.times(x), plain)
    assert_near(matrix.times(x, onto), (plain.float() + onto.float()).to(dtype))
    assert_near(matrix.back(onto), onto @ torch.cat(weights))
    assert_near(Matrix(weights, None, PrepackedWeights()).times(x), linear(x, torch.cat(weights)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 16, 40, 700])
@pytest.mark.parametrize("ranks", [1, 16, 33])
@pytest.mark.parametrize(("ins", "outs"), [(64, 96), (96, 40), (50, 64)])
def test_low_rank_products_are_added(ins, outs, ranks, rows, dtype):
    weight, x, onto = (drawn(*shape, dtype=dtype) for shape in ((outs, ins), (rows, ins), (rows, outs)))
    blocks = Blocks(drawn(ranks, ins, dtype=dtype), drawn(outs, ranks, dtype=dtype))
    matrix, wide = (
        Matrix([weight], None, PrepackedWeights(), both=True),
        [part.float() for part in (weight, x, onto, *blocks)],
    )
    out, low = matrix.times_with(x, matrix.fitted(blocks), onto)
    assert_near(low[:, :ranks], x @ blocks.down.T)
    assert_near(out, (wide[2] + wide[1] @ wide[0].T + low[:, :ranks].float() @ wide[4].T).to(dtype))
    back, inner = matrix.times_with(onto, matrix.fitted(blocks.turned, back=True), back=True)
    assert_near(inner[:, :ranks], onto @ blocks.up)
    assert_near(back, (wide[2] @ wide[0] + inner[:, :ranks].float() @ wide[3]).to(dtype))


@needs_bf16
def test_a_product_of_columns_that_lie_apart():
    x, weight = drawn(40, 128, dtype=torch.bfloat16)[:, ::2], drawn(32, 64, dtype=torch.bfloat16)
    assert_near(Matrix([weight], None, PrepackedWeights()).times(x), x @ weight.T)


@needs_bf16
def test_what_is_added_may_be_of_another_kind_and_what_does_not_fit_is_refused():
    weight, onto = drawn(32, 64, dtype=torch.bfloat16), drawn(40, 32)
    x = drawn(40, 64, dtype=torch.bfloat16)
    assert_near(Matrix([weight], drawn(32), PrepackedWeights()).times(x), linear(x, weight, drawn(32).bfloat16()))
    if Matrix([weight], None, PrepackedWeights()).in_tiles:
        assert_near(Matrix([weight], None, PrepackedWeights()).times(x, onto), x @ weight.T + onto.bfloat16())
    with pytest.raises((ValueError, RuntimeError)):
        Matrix([weight], None, PrepackedWeights()).times(x[:, :32])


@needs_bf16
def test_wide_inputs_are_left_to_others(monkeypatch):
    monkeypatch.setattr(matrix_room, "WIDEST", 64)
    weight, x = drawn(32, 96, dtype=torch.bfloat16), drawn(40, 96, dtype=torch.bfloat16)
    assert not Matrix([weight], None, PrepackedWeights()).in_tiles
    assert_near(Matrix([weight], None, PrepackedWeights()).times(x), x @ weight.T)


needs_tiles = pytest.mark.skipif(not kernels.tiled(torch.bfloat16), reason="a processor without tiles")


@needs_tiles
@pytest.mark.parametrize("rows", [1, 31, 50, 1000])
def test_by_tiles_a_row_does_not_depend_on_the_rows_beside_it_nor_on_threads(rows):
    x, packed = drawn(rows, 672, dtype=torch.bfloat16), kernels.packed(drawn(90, 672, dtype=torch.bfloat16))
    (whole, _), threads = kernels.tiled_product(x, packed, 90, None, None), torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(whole, kernels.tiled_product(x, packed, 90, None, None)[0])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole[-1:], kernels.tiled_product(x[-1:], packed, 90, None, None)[0])


@needs_tiles
def test_numbers_that_are_none_stay_in_their_row():
    x, packed = drawn(40, 64, dtype=torch.bfloat16), kernels.packed(drawn(32, 64, dtype=torch.bfloat16))
    x[3] = torch.nan
    found, _ = kernels.tiled_product(x, packed, 32, None, None)
    assert found.isnan().any(dim=1).nonzero().tolist() == [[3]]
