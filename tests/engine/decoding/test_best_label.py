"""The best candidate found by search is the one that scoring all of them ranks first."""

from __future__ import annotations

import random

import pytest
import torch
import transformers
from test_scoring import LABELS, PROMPTS, SHAPE, from_configuration

from stepladder.engine.decoding import best_label
from stepladder.engine.decoding.best_label import Node
from stepladder.engine.decoding.session import DecodingSession
from stepladder.models.toy import ToyCheckpoint


@pytest.fixture(scope="module", params=["slots", "cache"])
def model(request):
    if request.param == "slots":
        return ToyCheckpoint().load()
    return from_configuration(transformers.MistralConfig(**SHAPE, sliding_window=400, head_dim=8))


def check(model, prompts, candidates, **how):
    best = dict(model.choose(prompts, candidates, **how))
    scores = dict(model.score(prompts, candidates))
    assert sorted(best) == list(range(len(prompts)))
    for index, found in best.items():
        logs = scores[index].log_probabilities
        assert found.place == logs.index(max(logs))
        assert found.log_probability == pytest.approx(max(logs), abs=1e-4, rel=1e-5)
        assert found.length == scores[index].lengths[found.place]
        assert found.seconds > 0


@pytest.mark.parametrize("micro_batch", [None, 1, 2])
def test_it_is_the_first_of_all(model, micro_batch):
    check(model, PROMPTS, [LABELS] * 3, micro_batch=micro_batch)


def test_rows_may_bring_their_own_candidates_and_one_is_enough(model):
    check(model, PROMPTS, [("a", "ab"), ("only one",), ("", "no", "yes", "yes", "no way")])


def test_of_equals_the_first_wins(model):
    ((_, best),) = model.choose(PROMPTS[:1], [("yes", "yes")])
    assert best.place == 0


@pytest.mark.parametrize("seed", range(4))
def test_many_candidates_that_begin_alike(model, seed):
    draw = random.Random(seed)
    labels = tuple({"".join(draw.choice("ab") for _ in range(draw.randint(1, 6))) for _ in range(40)})
    prompts = [[draw.randint(5, 250) for _ in range(draw.randint(1, 12))] for _ in range(9)]
    check(model, prompts, [labels] * 9)


def learn(model, label):
    """A model that is sure of something."""
    answer = model.encode_answer(label)
    ids = torch.tensor([PROMPTS[0] + answer])
    where = torch.arange(ids.shape[1])[None] >= len(PROMPTS[0])
    optimizer = torch.optim.Adam(model.module.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        model.answer_losses(ids, torch.ones_like(where), where).sum().backward()
        optimizer.step()


def test_most_of_the_candidates_is_never_read(monkeypatch):
    model, read = ToyCheckpoint().load(), []
    extend = DecodingSession.extend
    monkeypatch.setattr(
        DecodingSession, "extend", lambda self, ids, *more: (read.append(ids.numel()), extend(self, ids, *more))[1]
    )
    labels = tuple(f"{first}{second}{'x' * 6}" for first in "abcdefgh" for second in "abcdefgh")
    learn(model, labels[13])
    check(model, PROMPTS, [labels] * 3)
    searched, scored = sum(read[:-1]), read[-1]
    assert searched < scored / 2, (read, scored)


@pytest.mark.parametrize("sure", [False, True])
def test_a_model_that_is_unsure_is_searched_in_vain_once(monkeypatch, sure):
    model, searched = ToyCheckpoint().load(), []
    search = best_label._search
    monkeypatch.setattr(best_label, "_search", lambda *given: (searched.append(len(given[2])), search(*given))[1])
    labels = tuple(f"{first}{second}{'x' * 6}" for first in "abcdefgh" for second in "abcdefgh")
    if sure:
        learn(model, labels[13])
    check(model, [PROMPTS[0]] * 12, [labels] * 12)
    assert searched == ([8, 4] if sure else [8])


def test_a_trie_holds_every_candidate():
    root = Node.of([[1, 2, 9], [1, 2, 3, 9], [4, 9], [1, 2, 9]])
    assert sorted(root.children) == [1, 4]
    branch = root.children[1].children[2]
    assert branch.path == (1, 2)
    assert branch.children[9].whole == 0
    assert [node.path for node in root.children[4].chain()] == [(4,), (4, 9)]
    assert [node.path for node in root.children[1].chain()] == [(1,), (1, 2)]
    assert root.tokens == 4


def test_gradients_are_as_before(model):
    list(model.choose(PROMPTS, [LABELS] * 3))
    assert torch.is_grad_enabled()
