"""The likeliest candidate only, by best-first search: exact, and most of the candidates' tokens are never read.

A candidate's log-probability only decreases along its path in the trie of all candidates. So a complete candidate that
is at least as likely as every open node is the likeliest of all. Of equally likely ones the first wins.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from stepladder.engine.decoding.scoring import score
from stepladder.engine.decoding.session import DecodingSession, Tokens, shared_prefix
from stepladder.engine.fast.network import FastNetwork
from stepladder.engine.fast.softmax import log_sum_exp
from stepladder.engine.values import Best

AT_ONCE = 3  # open nodes of a row that are expanded in one pass
PROBED = 8  # rows that show whether searching pays
UNSURE = 0.5  # if their search reads more than this share of all tokens, all candidates of the other rows are scored


@dataclass(eq=False)
class Node:
    """A prefix of candidates: its tokens, its children by token, and the first candidate that ends here."""

    path: tuple[int, ...] = ()
    children: dict[int, Node] = field(default_factory=dict)
    whole: int | None = None

    @classmethod
    def of(cls, candidates: Sequence[Tokens]) -> Node:
        root = cls()
        for index, candidate in enumerate(candidates):
            at = root
            for token in candidate:
                at = at.children.setdefault(token, cls((*at.path, token)))
            at.whole = index if at.whole is None else at.whole
        return root

    @cached_property
    def tokens(self) -> int:
        """How many tokens are read when all descendants are scored: all but those that end a candidate."""
        return sum(1 + after.tokens for after in self.children.values() if after.children)

    def chain(self) -> list[Node]:
        """This node and its descendants as long as each has one child."""
        found = [self]
        while len(found[-1].children) == 1:
            (after,) = found[-1].children.values()
            found.append(after)
        return found


@dataclass(eq=False)
class _Row:
    index: int
    root: Node
    open: dict[Node, float] = field(default_factory=dict)
    best: tuple[float, int] = (float("-inf"), 0)
    seconds: float = 0.0

    def expand(self, node: Node, so_far: float, logits: Tensor, total: float) -> None:
        """Open the children of a `node` with log-probability `so_far`, by the logits (vocabulary,) of next tokens and
        their log-sum-exp, `total`."""
        tokens = list(node.children)
        for token, logit in zip(tokens, logits[tokens].tolist(), strict=True):
            self._meet(node.children[token], so_far + logit - total)

    def _meet(self, node: Node, log: float) -> None:
        if node.whole is not None and (log, -node.whole) > (self.best[0], -self.best[1]):
            self.best = log, node.whole
        if node.children:
            self.open[node] = log

    def next(self) -> list[tuple[Node, float]]:
        """The likeliest open nodes that may still lead to a better candidate."""
        promising = sorted(((n, log) for n, log in self.open.items() if log >= self.best[0]), key=lambda pair: -pair[1])
        self.open = dict(promising)
        return promising[:AT_ONCE]


def choose(
    network: FastNetwork,
    prompts: Sequence[Tokens],
    candidates: Sequence[Sequence[Tokens]],
    batches: Sequence[Sequence[int]],
    whole: Sequence[Sequence[int]],
) -> Iterator[tuple[int, Best]]:
    """The likeliest of `candidates[i]` after `prompts[i]`, batch by batch.

    If the first rows show that the model is unsure, so that searching does not pay, all candidates of the other rows
    are scored, in the batches of `whole`.
    """
    if not batches:
        return
    tries: dict[int, Node] = {}
    begun = time.perf_counter()
    prefix = shared_prefix(network, prompts)
    spent = (time.perf_counter() - begun) / max(1, len(prompts))
    first, *others = batches
    done: set[int] = set()
    for batch in filter(None, (first[:PROBED], first[PROBED:], *others)):
        for index in batch:
            if id(candidates[index]) not in tries:
                tries[id(candidates[index])] = Node.of(candidates[index])
        rows = [_Row(index, tries[id(candidates[index])], seconds=spent) for index in batch]
        own = [prompts[index][len(prefix.tokens) :] for index in batch]
        deepest = max(len(candidate) for index in batch for candidate in candidates[index])
        with network.predicting():
            capacity = max(map(len, own)) + AT_ONCE * deepest
            read = _search(DecodingSession(network, prefix, len(rows), capacity), own, rows)
        for row in rows:
            log, place = row.best
            yield row.index, Best(place, log, len(candidates[row.index][place]), row.seconds)
        done |= set(batch)
        if read > UNSURE * sum(row.root.tokens for row in rows):
            break
    left = [rest for batch in whole if (rest := [index for index in batch if index not in done])]
    for index, scores in score(network, prompts, candidates, left, prefix):
        yield index, scores.best(spent)


def _search(session: DecodingSession, prompts: Sequence[Tokens], rows: Sequence[_Row]) -> int:
    """Search all rows; returns how many tokens were read after the prompts."""
    read, begun = 0, time.perf_counter()
    for row, of_row in zip(rows, _summed(session, session.read(prompts)), strict=True):
        row.expand(row.root, 0.0, *of_row)
    searching = list(rows)
    while True:
        chosen = [row.next() for row in searching]
        left = [at for at, nodes in enumerate(chosen) if nodes]
        seconds = (time.perf_counter() - begun) / len(searching)
        for row in searching:
            row.seconds += seconds
        if not left:
            return read
        begun = time.perf_counter()
        session.keep(left)
        searching, chosen = [searching[at] for at in left], [chosen[at] for at in left]
        read += _read_on(session, searching, chosen)


def _read_on(session: DecodingSession, rows: Sequence[_Row], chosen: Sequence[Sequence[tuple[Node, float]]]) -> int:
    """Read the chosen nodes, from the prompt's end, with their chains. Returns how many tokens were read."""
    branches = []
    for row, nodes in zip(rows, chosen, strict=True):
        for node, log in nodes:
            del row.open[node]
            branches.append((row, node, log, node.chain()))
    tokens, depth, among, starts = _side_by_side(rows, branches)
    device = session.device
    hidden = session.extend(tokens.to(device), depth.to(device), among.to(device))
    session.forget([tokens.shape[1]] * len(tokens))
    place = {id(row): at for at, row in enumerate(rows)}
    wanted = [
        (place[id(row)], start + len(node.path) - 1 + step)
        for (row, node, _, chain), start in zip(branches, starts, strict=True)
        for step, after in enumerate(chain)
        if after.children
    ]
    at_rows, at_columns = (torch.tensor(part, device=device) for part in zip(*wanted, strict=True))
    found = _summed(session, hidden[at_rows, at_columns])
    for row, _, log, chain in branches:
        for after in chain:
            if after.children:
                row.expand(after, log, *next(found))
                if len(after.children) == 1:
                    (only,) = after.children.values()
                    log = row.open.pop(only, log)
    return tokens.numel()


def _summed(session: DecodingSession, hidden: Tensor) -> Iterator[tuple[Tensor, float]]:
    """For each of the hidden states (n, width), its logits (vocabulary,) and their log-sum-exp."""
    logits = session.logits(hidden)
    return zip(logits, log_sum_exp(logits).tolist(), strict=True)


def _side_by_side(
    rows: Sequence[_Row], branches: Sequence[tuple[_Row, Node, float, list[Node]]]
) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """Each row's branches side by side: tokens and depth (rows, n), mask (rows, n, n), each branch's start."""
    width = {id(row): 0 for row in rows}
    starts = []
    paths = [chain[-1].path if chain[-1].children else chain[-2].path for _, _, _, chain in branches]
    for (row, _, _, _), path in zip(branches, paths, strict=True):
        starts.append(width[id(row)])
        width[id(row)] += len(path)
    n = max(width.values())
    tokens, depth = torch.zeros(2, len(rows), n, dtype=torch.long)
    among = torch.eye(n, dtype=torch.bool).repeat(len(rows), 1, 1)
    place = {id(row): at for at, row in enumerate(rows)}
    for (row, _, _, _), path, start in zip(branches, paths, starts, strict=True):
        own, end = place[id(row)], start + len(path)
        tokens[own, start:end], depth[own, start:end] = torch.tensor(path), torch.arange(len(path))
        among[own, start:end, start:end] = torch.ones(len(path), len(path), dtype=torch.bool).tril()
    return tokens, depth, among, starts
