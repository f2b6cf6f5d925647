"""Where a result comes from: code, versions, devices, command line, paths, hashes. Recorded, never in an id.

Knows this process and the checkouts around it; knows no experiment. Secrets are masked, also inside a diff.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stepladder.runs.masking import mask, mask_arguments, mask_code

DIFF_LIMIT = 1_000_000  # characters of a diff that are kept
FILES_LIMIT = 1_000  # names of untracked files that are kept
ENVIRONMENT = (  # what of the environment changes a result or its speed, and tells nothing else
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "STEPLADDER_CACHE",
    "TOKENIZERS_PARALLELISM",
)


def provenance(data: Mapping[str, str] | None = None, weights: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What can be told of this moment, as plain data; `data` and `weights` are content hashes by name.

    `code` is the checkout that Stepladder itself runs from (None for an installed wheel), `project` the one that the
    working directory lies in where that is another.
    """
    code = _own_checkout()
    return {
        "schema": 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "stepladder": _version(),
        "command": mask_arguments(sys.argv),
        "folder": mask(str(Path.cwd())),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "devices": devices(),
        "environment": mask({name: os.environ[name] for name in ENVIRONMENT if name in os.environ}),
        "distributions": dict(_distributions()),
        "code": code,
        "project": None if code and code["root"] == mask(_root(Path.cwd())) else checkout(Path.cwd()),
        "data": dict(data or {}),
        "weights": dict(weights or {}),
    }


def devices() -> dict[str, Any]:
    """Processor, memory in bytes and, where torch is already loaded, its threads and GPUs."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        found["cuda"] = torch.version.cuda
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found["gpus"] = [{"name": g.name, "memory": g.total_memory, "capability": f"{g.major}.{g.minor}"} for g in gpus]
    return found


def checkout(folder: Path) -> dict[str, Any] | None:
    """State of the git checkout around `folder`; None where there is none, or no git.

    `diff` is what tracked files differ by from `commit` (None before the first one), without secrets (`masked` tells
    whether some were taken out) and cut at DIFF_LIMIT; `diff_sha256` is of the whole, unmasked diff.
    """
    root = _root(folder)
    if root is None:
        return None
    top = Path(root)
    commit = (_git(top, "rev-parse", "--verify", "--quiet", "HEAD") or "").strip() or None
    diff = (_git(top, "diff", "--no-color", "--no-ext-diff", "--binary", "HEAD") or "") if commit else ""
    untracked = (_git(top, "ls-files", "--others", "--exclude-standard", "-z") or "").split("\0")[:-1]
    shown = mask_code(diff)
    return {
        "root": mask(root),
        "commit": commit,
        "dirty": bool(diff or untracked or not commit),
        "diff": shown[:DIFF_LIMIT],
        "diff_sha256": hashlib.sha256(diff.encode()).hexdigest() if diff else None,
        "masked": shown != diff,
        "cut": len(shown) > DIFF_LIMIT,
        "untracked": untracked[:FILES_LIMIT],
        "untracked_count": len(untracked),
    }


def _root(folder: Path) -> str | None:
    root = _git(folder, "rev-parse", "--show-toplevel")
    return None if root is None else root.strip()


@cache
def _own_checkout() -> dict[str, Any] | None:
    """The checkout as it is first seen: a long process goes on with the code that it loaded."""
    root = Path(__file__).resolve().parents[3]
    return checkout(root) if (root / "pyproject.toml").is_file() and (root / "src").is_dir() else None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None where it can not."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _version() -> str:
    try:
        return metadata.version("stepladder")
    except metadata.PackageNotFoundError:
        return "not installed"


@cache
def _distributions() -> tuple[tuple[str, str], ...]:
    return tuple(sorted({(found.name, found.version) for found in metadata.distributions() if found.name}))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
