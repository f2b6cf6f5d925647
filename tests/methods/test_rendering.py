"""Prompts become token ids once; what they are made of decides whether they are made again."""

from __future__ import annotations

import pytest

from stepladder.methods.rendering import Encoder
from stepladder.models.toy import ToyCheckpoint
from stepladder.types import Message


class Counting:
    def __init__(self):
        self.model, self.asked = ToyCheckpoint().load(), []

    def encode(self, messages):
        self.asked.append(messages)
        return self.model.encode(messages)


TALKS = [[Message("user", "Is it?")], [Message("system", "Short."), Message("user", "Say <|end|> é")], []]


@pytest.fixture
def model():
    return Counting()


def test_kept_ids_are_those_of_the_model_and_are_made_once(model, tmp_path):
    talks = TALKS[:2]
    first = Encoder(model, "m", tmp_path)(talks)
    assert first == [model.model.encode(talk) for talk in talks]
    assert len(model.asked) == 2
    assert Encoder(model, "m", tmp_path)(talks) == first
    assert len(model.asked) == 2


@pytest.mark.parametrize(
    ("made_by", "talks"),
    [
        ("another", TALKS[:2]),
        ("m", TALKS[:1]),
        ("m", [TALKS[1], TALKS[0]]),
        ("m", [TALKS[0], [Message("user", "Short."), Message("user", "Say <|end|> é")]]),
    ],
    ids=["model", "fewer", "order", "role"],
)
def test_another_model_or_text_or_order_is_made_anew(model, tmp_path, made_by, talks):
    Encoder(model, "m", tmp_path)(TALKS[:2])
    assert Encoder(model, made_by, tmp_path)(talks) == [model.model.encode(talk) for talk in talks]
    assert len(model.asked) == 2 + len(talks)


def test_nothing_is_kept_without_a_place(model, tmp_path):
    assert Encoder(model, "m")([]) == []
    Encoder(model, "m")(TALKS[:2])
    Encoder(model, "m")(TALKS[:2])
    assert len(model.asked) == 4
    assert not list(tmp_path.iterdir())
