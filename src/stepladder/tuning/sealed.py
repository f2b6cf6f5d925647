"""Tensors in files that are whole or not there, and that can tell: a file's name holds the hash of its content.

Knows tensors and files; knows nothing of what they are for. No pickle is written or read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from stepladder.io.files import settle

KIND = ".safetensors"


def seal(folder: Path, stem: str, tensors: Mapping[str, Tensor], told: Any = None) -> Path:
    """Write tensors, and as JSON what is `told` of them. Once this returns, no kill and no power cut takes it back.

    Raises OSError where the disk does not take it; what stood in the folder before stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"unfinished{KIND}"
    try:
        with on_disk(folder):
            save_file({n: t.detach().contiguous() for n, t in tensors.items()}, unfinished, {"told": json.dumps(told)})
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    settle(unfinished)
    path = folder / f"{stem}-{_hash(unfinished)}{KIND}"
    unfinished.replace(path)
    settle(folder)
    return path


@contextmanager
def on_disk(folder: Path) -> Iterator[None]:
    """Where safetensors can not write, that is said as the system says it: an OSError."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(folder)) from error


def is_whole(path: Path) -> bool:
    """Whether a file is there with the content that it was written with."""
    return path.is_file() and path.stem.rpartition("-")[2] == _hash(path)


def told(path: Path) -> Any:
    """What was told of the tensors in a file; nothing of it is used before `is_whole`. Raises ValueError where nothing
    was: somebody else has written it."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("told", "null"))
    except (SafetensorError, RecursionError) as error:
        raise ValueError(f"this is no sealed file: {error}") from error


def tensors(path: Path) -> dict[str, Tensor]:
    """What `is_whole` was found to hold. Raises ValueError where that are no tensors."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"this is no sealed file: {error}") from error


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
