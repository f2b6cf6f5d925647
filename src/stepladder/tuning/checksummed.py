"""Checksummed files of tensors: each is complete or absent, and its name holds the hash of its content.

The files are safetensors; no pickle is written or read.
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

from stepladder.io.files import flush_to_disk

SUFFIX = ".safetensors"


def write(folder: Path, stem: str, tensors: Mapping[str, Tensor], metadata: Any = None) -> Path:
    """Write tensors and metadata (as JSON) into a new file, which then survives a kill and a power cut.

    Raises:
        OSError: The disk does not take it. Other files of the folder are unchanged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"unfinished{SUFFIX}"
    try:
        with disk_errors(folder):
            plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
            save_file(plain, unfinished, {"metadata": json.dumps(metadata)})
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    flush_to_disk(unfinished)
    path = folder / f"{stem}-{_hash(unfinished)}{SUFFIX}"
    unfinished.replace(path)
    flush_to_disk(folder)
    return path


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turns safetensors' write errors into the OSError of the system."""
    try:
        yield
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(folder)) from error


def is_intact(path: Path) -> bool:
    """Whether a file exists with the content that it was written with."""
    return path.is_file() and path.stem.rpartition("-")[2] == _hash(path)


def metadata(path: Path) -> Any:
    """The metadata of a file; check `is_intact` first. Raises ValueError where it is no file of tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {}).get("metadata", "null"))
    except (SafetensorError, RecursionError) as error:
        raise ValueError(f"this is no file of tensors: {error}") from error


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; check `is_intact` first. Raises ValueError where it is no file of tensors."""
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"this is no file of tensors: {error}") from error


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
