"""What every test may rely on: no W&B account in reach, few threads, and the real data where this machine has it."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import asked, right_wrong  # noqa: F401 - fixtures
from strange import STRANGE

for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_ID", "WANDB_RUN_GROUP"):
    os.environ.pop(name, None)
os.environ["WANDB_MODE"] = "offline"  # a developer's own login must not receive what a test logs
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it runs in the background with Ctrl-C ignored, and what tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.append(str(Path(__file__).parents[1] / "scripts" / "benchmarks"))  # forked.py, kills.py, simulation.py
# Processes that a test starts can import the tests' own modules (barrier.py).
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests begin first, so that one worker does not end with them while the others have nothing to do."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What the test modules have imported stays until the end: no garbage collection needs to look at it again.

    With torch, transformers and scikit-learn loaded each full collection would take 0.3 s.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgresql() -> str:
    """The URL of a database of this pytest worker's own on the server that `STEPLADDER_POSTGRESQL` names.

    `.ci/postgresql COMMAND` starts a server and sets the variable.
    """
    url = os.environ.get("STEPLADDER_POSTGRESQL")
    if not url:
        pytest.skip("STEPLADDER_POSTGRESQL is not set: run the tests by .ci/postgresql scripts/test")
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return url
    import psycopg

    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS stepladder_{worker}")  # of an earlier run on a server that stays
        server.execute(f"CREATE DATABASE stepladder_{worker}")
    return url.rpartition("/")[0] + f"/stepladder_{worker}"


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of public datasets that `STEPLADDER_DATA` names: banking77, sms_spam, xquad_en, restaurant8k."""
    folder = os.environ.get("STEPLADDER_DATA")
    if not folder:
        pytest.skip("STEPLADDER_DATA is not set: it names the folder with banking77, sms_spam, xquad_en, restaurant8k")
    return Path(folder)


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that leaves a mark when it is imported or called, and the mark, which no test may find."""
    mark = tmp_path / "mark"
    (tmp_path / f"{STRANGE}.py").write_text(f"open({str(mark)!r}, 'w')\ndef run(*a, **k): open({str(mark)!r}, 'w')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OF_THE_MACHINE", "what-only-this-machine-knows")
    yield mark
    assert not mark.exists()
    assert STRANGE not in sys.modules
