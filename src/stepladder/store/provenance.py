"""Where a result comes from: code, versions, devices, command line, paths, hashes. Recorded, never in an id.

Knows this process and the checkouts around it; knows no experiment. Secrets are masked, also inside a diff.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from stepladder.io.redaction import mask, mask_arguments, mask_code
from stepladder.types import Plain

DIFF_LIMIT = 1_000_000  # characters of a diff that are kept
FILES_LIMIT = 1_000  # names of untracked files that are kept
ENVIRONMENT = (  # variables that change a result or its speed, and hold no secret
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
    "STEPLADDER_CACHE",
    "TOKENIZERS_PARALLELISM",
)


def provenance(
    data: Plain | None = None, weights: Plain | None = None, config: Plain | None = None, compute: Plain | None = None
) -> dict[str, Any]:
    """The provenance of this moment, as plain data; `data` and `weights` are content hashes by name, `config` is the
    experiment, `compute` the devices that it asked for.

    `source` is a hash of Stepladder's own modules. `code` is the checkout that they are in (None for an installed
    wheel), `project` the one of the working directory if that is another.
    """
    code = _own_checkout()
    return {
        "schema": 2,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "stepladder": _version(),
        "command": mask_arguments(sys.argv),
        "folder": mask(str(Path.cwd())),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(),
        "devices": devices(),
        "environment": mask({name: os.environ[name] for name in ENVIRONMENT if name in os.environ}),
        "distributions": dict(_distributions()),
        "source": _source(),
        "code": code,
        "project": None if code and code["root"] == mask(_root(Path.cwd())) else checkout(Path.cwd()),
        "config": dict(config or {}),
        "compute": dict(compute or {}),
        "data": dict(data or {}),
        "weights": dict(weights or {}),
    }


def lock() -> str:
    """The environment as a file of requirements, Stepladder itself as a comment: it comes from its own commit."""
    code = _own_checkout() or {}
    commit = f", commit {code['commit']}" if code.get("commit") else ""
    changed = " with the diff in provenance.json" if code.get("dirty") else ""
    lines = [
        f"# {platform.python_implementation()} {platform.python_version()} on {platform.platform()}",
        "# to build it again: python -m venv env; env/bin/pip install --no-deps -r lock.txt",
        f"# then Stepladder itself: {_version()}{commit}{changed}",
        *(f"{name}=={version}" for name, version in dict(_distributions()).items() if name.lower() != "stepladder"),
    ]
    return "\n".join(lines) + "\n"


@cache
def depended_on() -> frozenset[str]:
    """Names of the distributions that Stepladder needs, directly or through others, its own extras for work included;
    empty where it is not installed as a distribution."""
    found: set[str] = set()
    wanted = ["stepladder"]
    while wanted:
        name = normal(wanted.pop())
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        if name in found:
            continue
        found.add(name)
        for line in lines:
            extra = re.search(r"extra\s*==\s*['\"]([\w-]+)", line)
            own = re.match(r"[\w.-]+", line)
            if own and (extra is None or (name == "stepladder" and extra[1] != "dev")):
                wanted.append(own[0])
    return frozenset(found)


def normal(name: str) -> str:
    """A distribution's name as all registries understand it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def devices() -> Plain:
    """Processor, memory in bytes and, where torch is already loaded, its threads and GPUs; whether the kernels
    of Stepladder are compiled here, None where nothing has asked for them yet."""
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
        kernels: Any = sys.modules.get("stepladder.engine.fast.kernels")
        found["kernels"] = None if kernels is None else kernels.kernels() is not None
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found["gpus"] = [{"name": g.name, "memory": g.total_memory, "capability": f"{g.major}.{g.minor}"} for g in gpus]
    return found


def checkout(folder: Path) -> Plain | None:
    """State of the git checkout around `folder`; None where there is none, or no git.

    `diff` is what tracked files differ by from `commit` (None before the first one), without secrets (`masked` tells
    whether some were taken out) and cut at DIFF_LIMIT; `diff_sha256` is of the whole, unmasked diff. `added` has the
    texts of untracked code and configuration.
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
        "untracked": mask(untracked[:FILES_LIMIT]),
        "untracked_count": len(untracked),
        "added": _added(top, untracked),
    }


def _added(top: Path, untracked: Sequence[str]) -> dict[str, str]:
    """Texts of untracked code and configuration, without secrets, as long as there is left."""
    found: dict[str, str] = {}
    left = DIFF_LIMIT
    for name in untracked:
        file = top / name
        is_own = file.suffix in (".py", ".yaml", ".toml") and file.is_file() and not file.is_symlink()
        if is_own and file.stat().st_size <= left:
            text = mask_code(file.read_text(encoding="utf-8", errors="replace"))
            found[mask(name)] = text
            left -= len(text)
    return found


def _root(folder: Path) -> str | None:
    root = _git(folder, "rev-parse", "--show-toplevel")
    return None if root is None else root.strip()


@cache
def _own_checkout() -> Plain | None:
    """The checkout as it is first seen: a long process goes on with the code that it loaded."""
    root = Path(__file__).resolve().parents[3]
    return checkout(root) if (root / "pyproject.toml").is_file() and (root / "src").is_dir() else None


@cache
def _source() -> str:
    """One hash of all of Stepladder's own modules: also of an installed wheel, and of what no commit has."""
    package = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        whole.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return whole.hexdigest()


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
