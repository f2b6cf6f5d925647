"""The llama.cpp server with the embedded model: the same questions through it and here, from the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from api_agreement import EMBEDDED, agreement, llama_server

from stepladder.engine.values import Scores
from stepladder.models.api.endpoint import Endpoint
from stepladder.models.api.served import ServedModel
from stepladder.models.local import CausalModel
from stepladder.types import Message

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp, the llama.cpp server, is not installed"),
]
LABELS = ("billing", "card lost", "card stolen", "opening hours", "other")
QUESTIONS = [
    "I left my card in a taxi.", "When do you close on Fridays?", "Someone took my wallet.", "Why was I charged twice?",
    "Is the branch open on Sunday?", "Can I bring my dog?", "What is the fee for a transfer?", "I cannot find my card.",
    "What is the capital of France?", "Write one sentence about the sea.", "Count from one to five.", "Name a fruit.",
]  # fmt: skip
PROMPTS = [[Message("system", f"Name the topic: {', '.join(LABELS)}."), Message("user", q)] for q in QUESTIONS]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with llama_server() as found:
        yield found


@pytest.fixture(scope="module")
def local() -> CausalModel:
    return EMBEDDED.load("cpu")


def served(address: str, folder: Path, choose: str = "auto") -> ServedModel:
    return Endpoint(address, "smollm2", choose=choose, concurrency=2).open(folder, print)


def test_greedy_answers_agree(address: str, local: CausalModel, tmp_path: Path) -> None:
    here = dict(local.generate([local.encode(each) for each in PROMPTS], 12))
    model = served(address, tmp_path)
    there = dict(model.generate(PROMPTS, 12))
    ours, theirs = ([found[index].text.strip() for index in range(len(PROMPTS))] for found in (here, there))
    print("greedy answers that agree:", agreement(ours, theirs))
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 0.5 * len(PROMPTS)  # see docs/api-models.md
    assert [there[i].prompt_tokens for i in range(len(PROMPTS))] == [len(local.encode(each)) for each in PROMPTS]
    assert model.facts().server["model"] == "smollm2"


def test_labels_are_scored_exactly_by_walking_their_trie(address: str, local: CausalModel, tmp_path: Path) -> None:
    some = PROMPTS[:8]
    here: dict[int, Scores] = dict(local.score([local.encode(each) for each in some], [LABELS] * len(some)))
    model = served(address, tmp_path)
    best = dict(model.choose(some, [LABELS] * len(some)))
    (first,) = dict(model.score(some[:1], [LABELS])).values()
    assert model.facts().server["labels"] == "TrieWalk"
    assert first.lengths == here[0].lengths
    assert first.log_probabilities == pytest.approx(here[0].log_probabilities, abs=1.0)
    assert best[0].place == first.best().place
    assert best[0].log_probability == pytest.approx(first.best().log_probability, abs=0.05)
    for index, found in best.items():  # the same label, or one that is nearly as likely here
        own = here[index].log_probabilities
        assert max(own) - own[found.place] < 0.7


def test_the_server_ignores_echo_and_is_found_out(address: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="prompt_logprobs: "):
        list(served(address, tmp_path, "prompt_logprobs").score(PROMPTS[:1], [LABELS]))


def test_json_is_held_to_its_schema(address: str, tmp_path: Path) -> None:
    model = served(address, tmp_path, "constrained")
    found = dict(model.write_label(PROMPTS[:3], [LABELS] * 3, 40))
    assert {done.text for done in found.values()} <= set(LABELS)
