"""Guesses save passes and change no text."""

from __future__ import annotations

import pytest

from stepladder.engine.decoding import speculation as room
from stepladder.engine.decoding.kv_slots import SlotReading
from stepladder.engine.decoding.speculation import Drafts
from stepladder.models.toy import ToyCheckpoint
from stepladder.types import Message

SCHEMA = {
    "type": "object",
    "properties": {"who": {"type": "string", "maxLength": 6}, "when": {"enum": ["today", "tomorrow"]}},
    "required": ["who", "when"],
    "additionalProperties": False,
}


def follow(drafts: Drafts, prompt, text):
    """Write `text` token by token as a model would that can write nothing else: how many passes it took."""
    row, left, passes = drafts.begin(prompt), list(text), 0
    while left:
        draft, right = row.guess(len(left) - 1), 0
        while right < len(draft) and draft[right] == left[right]:
            right += 1
        row.write(left[: right + 1])
        del left[: right + 1]
        passes += 1
    return passes


def test_what_repeats_is_guessed_and_read_in_fewer_passes():
    drafts = Drafts([1, 2, 3])
    form = [10, 11, 12, 13, 14, 15, 16, 17]
    passes = [follow(drafts, [5, at], [*form, 50 + at, *form[::-1]]) for at in range(12)]
    assert passes[0] >= 15
    assert max(passes[6:]) <= 12


def test_what_never_repeats_is_soon_no_longer_guessed():
    drafts = Drafts([])
    read = 0
    for start in range(40):  # 7 is always followed by something new
        row = drafts.begin([7])
        for at in range(10):
            read += len(row.guess(5))
            row.write([1000 + start * 10 + at, 7])
    assert read <= 5


def test_a_guess_keeps_within_what_may_be_written():
    drafts = Drafts([1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6])
    assert drafts.begin([1, 2]).guess(0) == []
    assert len(drafts.begin([1, 2, 3]).guess(100)) <= room.MOST


def test_what_a_grammar_forces_is_guessed_until_it_is_seen_to_be_cut_otherwise():
    drafts = Drafts([])
    assert drafts.begin([1]).guess(5, [7, 8]) == [7, 8]
    assert drafts.begin([1]).guess(1, [7, 8]) == [7]
    assert len(drafts.begin([1]).guess(100, [7] * 50)) == room.MOST
    for at in range(200):  # the model writes another token
        row = drafts.begin([at])
        read = row.guess(5, [1000, 1001])
        row.write([2000 + at])
    assert not read


def test_what_was_written_before_goes_on_after_what_a_grammar_forces():
    drafts = Drafts([1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    for _ in range(20):
        drafts.compare((False, room.LONGEST), True)
    assert drafts.begin([1, 2, 3, 4, 5]).guess(4, [6, 7]) == [6, 7, 8, 9]
    assert drafts.begin([1, 2, 3, 4, 5]).guess(4, [6, 0]) == [6, 0]


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(room, "KEPT", 10)
    drafts = Drafts([])
    follow(drafts, [0], range(100, 200))
    assert len(drafts.shared._after) <= 12


@pytest.mark.parametrize("schema", [None, SCHEMA], ids=["free", "json"])
@pytest.mark.parametrize("temperature", [None, 0.05])
def test_texts_are_those_that_are_written_token_by_token(monkeypatch, schema, temperature):
    model, passes = ToyCheckpoint().load(), []
    plain = SlotReading.go_on
    monkeypatch.setattr(SlotReading, "go_on", lambda self, *given: passes.append(1) or plain(self, *given))
    prompts = [model.encode([Message("user", f"say it {at} times again and again")]) for at in range(6)]

    def written(worth):
        monkeypatch.setattr(room, "WORTH", worth)
        monkeypatch.setattr(room, "WORTH_IF_DEAR", worth)
        passes.clear()
        done = dict(model.generate(prompts, 60, temperature, seed=1, schema=schema, micro_batch=2))
        return [(done[i].text, done[i].new_tokens, done[i].finished) for i in range(6)], len(passes)

    (alone, many), (guessed, few) = written(2.0), written(0.01)
    assert guessed == alone
    assert few < many
