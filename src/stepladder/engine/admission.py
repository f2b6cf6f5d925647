"""Chooses the path on which a model is run, by comparing each path with the model's own forward when it is loaded."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from stepladder.engine.configuration import masks_are_known, unknown_windows, window, windows
from stepladder.engine.decoding.kv_slots import Tokens
from stepladder.engine.decoding.session import begin, shared
from stepladder.engine.fast.attention import UnsuitedError
from stepladder.engine.network import Network, Path
from stepladder.engine.reference import repeated
from stepladder.errors import ModelError

_FAULTS = (TypeError, ValueError, AttributeError, LookupError, RuntimeError, AssertionError, UnsuitedError)
"""What is raised where a model is run in a way that it does not take."""
_PROBED_WINDOW = 64


def choose_path(network: Network) -> None:
    """Find out on which path the network is run: the first on which two rows of unequal length, read in parts, give
    what the model's own forward gives of each alone, unpadded.

    Windows of up to 64 tokens are probed too; a model whose configuration names other bounds of what a token sees than
    `sliding_window` takes the plain path. Raises ModelError where the model's own forward fails, or looks at later
    tokens.
    """
    rows = _probes(network)
    with network.predicting():
        try:
            own = [network.own_forward(torch.tensor([row], device=network.device))[0][0] for row in rows]
        except _FAULTS as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise _unfit(network, f"can not be run: {why}") from error
        changed, _ = network.own_forward(torch.tensor([[*rows[0][:-1], rows[0][0]]], device=network.device))
        if not _near(own[0][:-1], changed[0, :-1]):
            raise _unfit(network, "is not causal: a token's result depends on the tokens after it")
        network.path = next((path for path in _candidates(network) if _serves(network, path, rows, own)), "plain")
        if network.path == "plain" or network.switch is not None:
            network.continues = _continues(network, rows, own)
        if network.path == "plain" and network.virtual is None:
            network.packs.length_bound = _length_bound(network)
        if network.depends_on_length(_PROBED_WINDOW + 1):  # `generate` takes its cache all the same
            network.continues = network.continues or _steps(network, rows[0])
    if network.virtual is None:
        network.packs.path, network.packs.continues = network.path, network.continues


def _probes(network: Network) -> list[list[int]]:
    """Two rows that begin with the same two tokens, the first longer than any small window."""
    small = [window for window in windows(network.config) if window <= _PROBED_WINDOW]
    lengths = [max([2, *small]) + 4, 5]
    # From all over the vocabulary: the first tokens are often odd.
    tokens = [at * 7919 % network.vocabulary for at in range(1, sum(lengths) + 1)]
    long, short = tokens[: lengths[0]], tokens[lengths[0] :]
    return [long, [*long[:2], *short[2:]]]


def _candidates(network: Network) -> list[Path]:
    """Paths that are worth being tried, the fastest first."""
    if not masks_are_known(network.config) or network.switch == 0 or network.packs.path == "plain":
        return []
    return ["slots", "cache"] if network.suits and network.packs.path != "cache" else ["cache"]


def _serves(network: Network, path: Path, rows: Sequence[Tokens], own: Sequence[Tensor]) -> bool:
    """Whether the two rows, read in parts on this path, give their `own` logits (tokens, vocabulary)."""
    network.path = path
    try:
        if network.virtual is None:
            network.packs.own_head = False
            hidden, _ = network.read(torch.tensor([rows[0]], device=network.device))
            network.packs.own_head = not _near(network.logits(hidden[0]), own[0])
        prefix = shared(network, rows)
        reading = begin(network, prefix, len(rows), max(map(len, rows)) + 8)
        cuts = [len(row) - 2 for row in rows]
        ends = reading.logits(
            reading.read([row[len(prefix.tokens) : cut] for row, cut in zip(rows, cuts, strict=True)])
        )
        chain_and_other = torch.tensor([[True, False, False], [True, True, False], [False, False, True]])
        branches = reading.extend(
            torch.tensor([[*row[cut:], row[0]] for row, cut in zip(rows, cuts, strict=True)], device=network.device),
            torch.tensor([[0, 1, 0]] * len(rows), device=network.device),
            chain_and_other.expand(len(rows), -1, -1).to(network.device),
        )
        reading.forget([3] * len(rows))
        after = reading.logits(reading.go_on([rows[0][cuts[0] :], rows[1][cuts[1] : -1]]))
        chains = [reading.logits(each[:2]) for each in branches]
    except _FAULTS:
        return False
    wanted = [each[cut:] for each, cut in zip(own, cuts, strict=True)]
    pairs = [
        (ends, torch.stack([each[cut - 1] for each, cut in zip(own, cuts, strict=True)])),
        *zip(chains, wanted, strict=True),
        (after, torch.cat([wanted[0], wanted[1][:1]])),
    ]
    return all(_near(found, right) for found, right in pairs)


def _continues(network: Network, rows: Sequence[Tokens], own: Sequence[Tensor]) -> bool:
    """Whether the model's own cache, of one row or repeated for several, continues as a whole row does."""
    try:
        for row, right in zip(rows, own, strict=True):
            ids = torch.tensor([row], device=network.device)
            _, cache = network.own_forward(ids[:, :-2], keep=True)
            if cache is None:
                return False
            found = [network.own_forward(ids[:, -2:].expand(2, -1), repeated(cache, 2))[0][1]]
            for at in (-2, -1):
                logits, cache = network.own_forward(ids[:, at : at + 1 or None], cache)
                found.append(logits[0])
            if not (_near(found[0], right[-2:]) and _near(torch.cat(found[1:]), right[-2:])):
                return False
    except _FAULTS:
        return False
    return True


def _steps(network: Network, row: Tokens) -> bool:
    """Whether the model's own cache can be read on from, token by token."""
    ids = torch.tensor([row], device=network.device)
    try:
        _, cache = network.own_forward(ids[:, :-1], keep=True)
        return cache is not None and network.own_forward(ids[:, -1:], cache)[1] is not None
    except _FAULTS:
        return False


def _length_bound(network: Network) -> int | None:
    """The number of tokens above which results may depend on how long a row is; None if they never do.

    Some models rank what a token sees and keep the best (Doge, the indexers of DeepSeek and Hunyuan): of equal ranks,
    which repeated tokens have, the row's length decides. Bounds of up to `_PROBED_WINDOW` tokens are tried with a row
    of few different tokens; longer ones are not tried, and count.
    """
    bounds = unknown_windows(network.config)
    length = min(2 * _PROBED_WINDOW + 8, window(network.config, None))
    row = torch.tensor([[at * at % 61 % network.vocabulary for at in range(length)]], device=network.device)
    whole, _ = network.own_forward(row)
    for cut in (1, length // 8):
        part, _ = network.own_forward(row[:, :-cut])
        if not _near(part[0, length // 2 :], whole[0, length // 2 : -cut]):
            return min(bounds, default=0)
    return min((bound for bound in bounds if bound > _PROBED_WINDOW), default=None)


def _near(found: Tensor, right: Tensor) -> bool:
    """Whether log-probabilities by these logits (n, vocabulary) are the same but for rounding."""
    limit = 1e-3 if right.dtype == torch.float32 else 0.5
    found, right = (logits.float().log_softmax(dim=-1) for logits in (found, right))
    apart = (found - right).abs().masked_fill_(found == right, 0.0)  # of two infinite ones too
    return bool(apart.mean() < limit)


def _unfit(network: Network, why: str) -> ModelError:
    return ModelError(
        f"A model of type '{network.config.model_type}' can not be used: it {why}",
        "model",
        "choose a decoder-only language model (Llama, Qwen, Mistral, Gemma, Phi, ...)",
    )
