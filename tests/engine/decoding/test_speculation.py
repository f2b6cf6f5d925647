"""Speculation on the tokens that a schema forces saves passes and changes no answer."""

from __future__ import annotations

import pytest

from stepladder.engine.decoding import speculation
from stepladder.engine.decoding.kv_slots import SlotSession
from stepladder.engine.decoding.speculation import MOST, Speculation
from stepladder.models.toy import ToyCheckpoint
from stepladder.types import Message

SCHEMA = {
    "type": "object",
    "properties": {"who": {"type": "string", "maxLength": 6}, "when": {"enum": ["today", "tomorrow"]}},
    "required": ["who", "when"],
    "additionalProperties": False,
}


def test_a_proposal_keeps_within_what_may_be_written():
    own = Speculation()
    assert own.proposal([7, 8], 5) == [7, 8]
    assert own.proposal([7, 8], 1) == [7]
    assert own.proposal([7, 8], 0) == []
    assert len(own.proposal([7] * 50, 100)) == MOST


def test_forced_tokens_are_proposed_until_they_are_seen_to_be_cut_otherwise():
    own = Speculation()
    for at in range(200):  # the model writes another token
        proposed = own.proposal([1000, 1001], 5)
        own.compare([1000, 1001], [2000 + at])
    assert not proposed
    for _ in range(400):
        own.compare([7], [7])
    assert own.proposal([7], 5) == [7]


@pytest.mark.parametrize("temperature", [None, 0.05])
def test_answers_are_those_that_are_written_token_by_token(monkeypatch, temperature):
    model, passes = ToyCheckpoint().load(), []
    plain = SlotSession.advance
    monkeypatch.setattr(SlotSession, "advance", lambda self, *given: passes.append(1) or plain(self, *given))
    prompts = [model.encode([Message("user", f"say it {at} times again and again")]) for at in range(6)]

    def written(worth):
        monkeypatch.setattr(speculation, "WORTH", worth)
        monkeypatch.setattr(speculation, "WORTH_IF_EXPENSIVE", worth)
        passes.clear()
        done = dict(model.generate(prompts, 60, temperature, seed=1, schema=SCHEMA, micro_batch=2))
        return [(done[i].text, done[i].new_tokens, done[i].finished) for i in range(6)], len(passes)

    (alone, many), (guessed, few) = written(2.0), written(0.01)
    assert guessed == alone
    assert few < many
