"""Fits on one process and on two, of rows of unequal length, by the command."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from filelock import FileLock
from ranked import LABELS, ForkedRank, Run, outcome

from stepladder.cli.entry import main
from stepladder.distributed import launch


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A fine-tuning of 26 rows in steps of 5: the last of an epoch has one row, which is nothing for a second rank."""
    draw, file = random.Random(0), tmp_path_factory.mktemp("rows") / "rows.csv"
    asked = [f"{'x' * draw.randint(1, 60)} {n},{LABELS[n % 3]}" for n in range(40)]
    file.write_text("\n".join(["text,label", *asked]) + "\n", encoding="utf-8")
    return [
        "run", "method=finetune", "model=toy", "dataset=file", f"dataset.train='{file}'", "dataset.input=text",
        "dataset.target=label", "dataset.split.test=0.15", "dataset.split.validation=0.2", "training.epochs=3",
        "training.batch_size=5", "training.precision=float32", "training.learning_rate=0.003",
        "training.validate_every=0.5", "training.patience=null", "tracking=none",
    ]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    """One for each process, which the ranks of a test run have too."""
    before, told = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS")
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    yield
    torch.set_num_threads(before)
    os.environ.pop("OMP_NUM_THREADS")
    if told is not None:
        os.environ["OMP_NUM_THREADS"] = told


@pytest.fixture(scope="module", autouse=True)
def forked_ranks() -> Iterator[None]:
    """The processes of a fit that the test's own process makes import nothing; those of other commands are real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "subprocess", SimpleNamespace(Popen=ForkedRank, PIPE=subprocess.PIPE))
        yield


@pytest.fixture(scope="session")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The fit of a run with more words: its folder, key, lines of metrics, facts and what was said.

    Each is made once, by the first pytest worker that wants it; the others wait for it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    shared.mkdir(exist_ok=True)

    def make(*more: str) -> dict[str, Any]:
        outputs = shared / hashlib.sha256("\n".join(more).encode()).hexdigest()[:16]
        with FileLock(f"{outputs}.lock"):
            assert main([*words, *more, "--outputs", str(outputs)]) == 0
        return outcome(outputs)

    return make
