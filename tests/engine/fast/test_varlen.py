"""Variable-length batches: the kernel itself on a GPU, elsewhere a stand-in that computes row by row."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from stepladder.engine.fast import varlen
from stepladder.engine.fast.attention import Rows
from stepladder.engine.fast.varlen import VarlenBatch, VarlenPattern, round_up
from stepladder.models.toy import ToyCheckpoint

ON_GPU = varlen.supports(torch.device("cuda" if torch.cuda.is_available() else "cpu"), torch.bfloat16, 16)
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
DTYPE, NEAR = (torch.bfloat16, 3e-2) if ON_GPU else (torch.float32, 1e-5)
PREFIX = [5, 6, 7, 8, 9]
ROWS = [[*PREFIX, 70, 71, 72, 1], [*PREFIX, 79, 80, 1], [*PREFIX, 60, 61, 62, 63, 64, 1]]


def row_by_row(query, key, value, begins, key_begins, longest, key_longest, *, scale, window_size, enable_gqa):
    """What PyTorch says of its kernel: causal, the last query of a row at the row's last key."""
    assert window_size == (-1, 0)
    found = torch.zeros_like(query)
    for row in range(len(begins) - 1):
        own, keys = slice(begins[row], begins[row + 1]), slice(key_begins[row], key_begins[row + 1])
        n, m = len(query[own]), len(key[keys])
        assert n <= m <= key_longest
        assert n <= longest
        if n:
            parts = [part.transpose(0, 1)[None] for part in (query[own], key[keys], value[keys])]
            mask = torch.ones(n, m, dtype=torch.bool).tril(m - n)
            out = scaled_dot_product_attention(*parts, attn_mask=mask, scale=scale, enable_gqa=enable_gqa)
            found[own] = out[0].transpose(0, 1)
    return found


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    if not ON_GPU:
        monkeypatch.setattr(varlen.varlen, "varlen_attn", row_by_row)


def batch(rows, answer=2):
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.arange(longest) < torch.tensor([[len(row)] for row in rows])
    wanted = mask & (torch.arange(longest) >= torch.tensor([[len(row) - answer] for row in rows]))
    return ids.to(DEVICE), mask.to(DEVICE), wanted.to(DEVICE)


def test_a_batch_is_a_shared_prefix_and_each_rows_own_tokens():
    laid = VarlenBatch.of(*batch(ROWS))
    assert laid.ids.tolist() == [*PREFIX, *ROWS[0][5:], *ROWS[1][5:], *ROWS[2][5:]]
    assert laid.positions.tolist() == [*range(5), *range(5, 9), *range(5, 8), *range(5, 11)]
    assert (laid.lengths, laid.prefix) == ([4, 3, 6], 5)
    assert laid.ids[laid.kept].tolist() == [72, 1, 80, 1, 64, 1]


@pytest.mark.parametrize("rows", [ROWS, [row[5:] for row in ROWS], ROWS[:1]], ids=["prefix", "apart", "one"])
@pytest.mark.parametrize("with_spare", [False, True])
@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_tokens_see_what_rows_see_that_are_padded(rows, with_spare, heads):
    laid = VarlenBatch.of(*batch(rows))
    shape = laid.with_spare() if with_spare else laid
    tokens = len(shape.ids)
    draw = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, n, tokens, 16, generator=draw).to(DEVICE, DTYPE).requires_grad_()
        for n in (heads[0], heads[1], heads[1])
    )
    ours = VarlenPattern.of(shape, DEVICE, with_spare).attend(0, query, key, value, 0.25, 0.0)[:, : len(laid.ids)]
    own = [part[:, :, : len(laid.ids)].detach().float().requires_grad_() for part in (query, key, value)]
    theirs = Rows(laid.lengths, laid.prefix, DEVICE).attend(0, *own, 0.25, 0.0)
    torch.testing.assert_close(ours.float(), theirs, atol=NEAR, rtol=NEAR)
    towards = torch.randn(theirs.shape, generator=draw).to(DEVICE)
    ours.backward(towards.to(DTYPE))
    theirs.backward(towards)
    for a, b in zip((query, key, value), own, strict=True):
        torch.testing.assert_close(a.grad[:, :, : len(laid.ids)].float(), b.grad, atol=2 * NEAR, rtol=2 * NEAR)
        assert not a.grad[:, :, len(laid.ids) :].any()


def test_shapes_with_room_are_few_and_never_too_small():
    for least in (8, 64):
        found = [round_up(n, least) for n in range(1, 5000)]
        assert all(n <= upto <= max(n * 1.125 + 1, n + least) for n, upto in enumerate(found, start=1))
        assert len(set(found)) < 90
    laid = [VarlenBatch.of(*batch([PREFIX + [70] * n, PREFIX + [80] * m])).with_spare() for n, m in ((3, 9), (30, 47))]
    pairs = [VarlenPattern.of(each, DEVICE, with_spare=True) for each in laid]
    assert len({(len(each.ids), len(each.kept)) for each in laid}) == 1
    assert len({(len(p.begins), len(p.key_begins), len(p.seen), p.longest, p.key_longest) for p in pairs}) == 1


def test_a_model_reads_packed_rows_as_it_reads_padded_ones(monkeypatch):
    model = ToyCheckpoint(dtype="bf16" if ON_GPU else "float32").load(str(DEVICE))
    ids, mask, wanted = batch(ROWS)
    monkeypatch.setattr(varlen, "supports", lambda *_: False)
    with torch.no_grad():
        padded = model.engine.network.hidden(ids, mask, wanted).float()
        monkeypatch.setattr(varlen, "supports", lambda *_: True)
        seen = []
        of = VarlenPattern.of
        monkeypatch.setattr(VarlenPattern, "of", lambda *a, **k: (seen.append(1), of(*a, **k))[1])
        ours = model.engine.network.hidden(ids, mask, wanted).float()
    assert seen
    assert (ours - padded).norm() < NEAR * padded.norm()


def test_what_the_kernel_does_not_do_is_done_padded(monkeypatch):
    monkeypatch.setattr(varlen.varlen, "varlen_attn", None)
    laid = VarlenBatch.of(*batch(ROWS))
    query, key = (torch.randn(1, 2, len(laid.ids), 16, device=DEVICE) for _ in range(2))
    value = torch.randn(1, 2, len(laid.ids), 8, device=DEVICE)
    for given, dropout in (((query, key, value), 0.0), ((query, key, key), 0.5)):
        torch.manual_seed(0)
        ours = VarlenPattern.of(laid, DEVICE).attend(0, *given, 0.25, dropout)
        torch.manual_seed(0)
        assert ours.equal(Rows(laid.lengths, laid.prefix, DEVICE).attend(0, *given, 0.25, dropout))
