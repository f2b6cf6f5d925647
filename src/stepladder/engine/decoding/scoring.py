"""Label scoring: log-probabilities of all candidate answers at once.

The candidates of a row form a trie, so that common prefixes are read once. A batch reads its prompts, then all tries
together; each token attends to its prompt and its own ancestors.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from stepladder.engine.decoding.session import DecodingSession, Prefix, shared_prefix
from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.fast.softmax import log_sum_exp
from stepladder.engine.values import Scores

Tokens = Sequence[int]
_HEAD_ROWS = 256  # rows of logits in memory at once: 25 MB in bf16 with a vocabulary of 50,000


@dataclass(frozen=True)
class Trie:
    """Candidates as a tree. Node 0 is the prompt's end; node n > 0 reads `tokens[n - 1]`.

    depth: (nodes,) of the token nodes, from 0. ancestors: (nodes, nodes), itself included. The edges are what is
    scored: `edge_tokens[e]` after node `edge_parents[e]`; candidate c has the edges `paths[c]`. The last token of a
    candidate is scored but never read, so it has an edge and no node.
    """

    tokens: tuple[int, ...]
    depth: tuple[int, ...]
    ancestors: Tensor
    edge_parents: tuple[int, ...]
    edge_tokens: tuple[int, ...]
    paths: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, candidates: Sequence[Tokens]) -> Trie:
        edges: dict[tuple[int, int], int] = {}
        nodes: dict[tuple[int, int], int] = {}
        paths: list[tuple[int, ...]] = []
        depth: list[int] = []
        parents: list[int] = []
        for candidate in candidates:
            at = 0
            path: list[int] = []
            for place, token in enumerate(candidate):
                path.append(edges.setdefault((at, token), len(edges)))
                if place + 1 < len(candidate):
                    child = nodes.setdefault((at, token), len(nodes) + 1)
                    if child > len(depth):
                        depth.append(place)
                        parents.append(at)
                    at = child
            paths.append(tuple(path))
        ancestors = torch.eye(len(nodes), dtype=torch.bool)
        for node, parent in enumerate(parents):
            if parent:
                ancestors[node] |= ancestors[parent - 1]
        return cls(
            tuple(token for _, token in nodes),
            tuple(depth),
            ancestors,
            tuple(parent for parent, _ in edges),
            tuple(token for _, token in edges),
            tuple(paths),
        )


def score(
    network: FastNetwork,
    prompts: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    batches: Sequence[Sequence[int]],
    prefix: Prefix | None = None,
) -> Iterator[tuple[int, Scores]]:
    """Scores of `candidates[i]` after `prompts[i]`, batch by batch.

    Args:
        prefix: What all prompts begin with, where it has been read; None reads it.
    """
    if not batches:
        return
    prefix = prefix or shared_prefix(network, prompts)
    tries: dict[int, Trie] = {}
    for batch in batches:
        begun = time.perf_counter()
        for index in batch:
            key = id(candidates[index])  # rows with the same candidates bring the same object: one trie serves them all
            if key not in tries:
                tries[key] = Trie.of(candidates[index])
        rows = [tries[id(candidates[index])] for index in batch]
        with network.predicting():
            found = _batch(network, prefix, [prompts[index][len(prefix.tokens) :] for index in batch], rows)
        seconds = (time.perf_counter() - begun) / len(batch)
        for index, trie, edges in zip(batch, rows, found, strict=True):
            logs = tuple(math.fsum(edges[e] for e in path) for path in trie.paths)
            yield index, Scores(logs, tuple(map(len, trie.paths)), seconds)


def _batch(network: FastNetwork, prefix: Prefix, prompts: Sequence[Tokens], tries: Sequence[Trie]) -> list[list[float]]:
    """Of each row the log-probability of each edge of its trie."""
    widest = max(len(trie.tokens) for trie in tries)
    session = DecodingSession(network, prefix, len(prompts), max(map(len, prompts)) + widest)
    hidden = session.read(prompts)[:, None]
    if widest:
        nodes, _ = network.pad([(*trie.tokens, *[0] * (widest - len(trie.tokens))) for trie in tries])
        depth, _ = network.pad([(*trie.depth, *[0] * (widest - len(trie.depth))) for trie in tries])
        among = torch.eye(widest, dtype=torch.bool).repeat(len(tries), 1, 1)
        for row, trie in enumerate(tries):
            among[row, : len(trie.tokens), : len(trie.tokens)] = trie.ancestors
        hidden = torch.cat([hidden, session.extend(nodes, depth, among.to(nodes.device))], dim=1)
    return _edges(session, hidden, tries)


def _edges(session: DecodingSession, hidden: Tensor, tries: Sequence[Trie]) -> list[list[float]]:
    """The head and log-probabilities (float32) at each node, a few at a time; only the edges' values are kept."""
    columns, device = hidden.shape[1], hidden.device
    real = [row * columns + node for row, trie in enumerate(tries) for node in range(len(trie.tokens) + 1)]
    place = {node: at for at, node in enumerate(real)}
    flat = hidden.flatten(0, 1)[torch.tensor(real, device=device)]
    parents = torch.tensor([place[row * columns + p] for row, trie in enumerate(tries) for p in trie.edge_parents])
    tokens = torch.tensor([token for trie in tries for token in trie.edge_tokens])
    order = torch.argsort(parents, stable=True)
    found = torch.empty(len(tokens))
    bounds = torch.searchsorted(parents[order], torch.arange(0, len(real) + _HEAD_ROWS, _HEAD_ROWS)).tolist()
    for start, (first, last) in zip(range(0, len(real), _HEAD_ROWS), pairwise(bounds), strict=True):
        logits, edges = session.logits(flat[start : start + _HEAD_ROWS]), order[first:last]
        node, token = (parents[edges] - start).to(device), tokens[edges].to(device)
        found[edges] = (logits[node, token].float() - log_sum_exp(logits)[node]).cpu()
    counts = [len(trie.edge_tokens) for trie in tries]
    return [part.tolist() for part in torch.split(found.double(), counts)]
