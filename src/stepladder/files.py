"""Files and folders that are whole or not there, and JSON in them. Knows nothing of what they mean."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

T = TypeVar("T")

UNFINISHED = ".unfinished-"
"""What the name of a file begins with that is not whole yet, or not any more; a kill may leave one behind."""


def write_text(path: Path, text: str) -> None:
    """Write beside `path`, then put it in its place: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=UNFINISHED, delete=False, encoding="utf-8") as stream:
        beside = Path(stream.name)
        try:
            stream.write(text)
            stream.flush()
            beside.chmod(0o666 & ~_umask())
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        except BaseException:
            beside.unlink(missing_ok=True)
            raise


def settle(path: Path) -> None:
    """A file, or a folder with all that is in it, safely on the disk: no power cut takes it back."""
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard(path: Path) -> None:
    """Remove a folder, or what is left of one, where there is one: a kill leaves it whole, or under another name."""
    if path.is_dir():
        gone = path if path.name.startswith(UNFINISHED) else path.with_name(f"{UNFINISHED}{path.name}")
        path.replace(gone)
        shutil.rmtree(gone)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One JSON object a line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a file; None where there is no such file or it is not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def kept(
    shared: Path | None,
    name: str,
    make: Callable[[], T],
    save: Callable[[T, Path], None],
    load: Callable[[Path], T],
) -> T:
    """What stands in the folder `name` of `shared`, made and kept when it is not there: one process makes it, others
    wait. Without `shared` nothing is kept."""
    if shared is None:
        return make()
    folder = shared / name
    if not folder.is_dir():
        shared.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            if not folder.is_dir():
                made = make()
                with tempfile.TemporaryDirectory(dir=shared) as work:
                    whole = Path(work) / "whole"
                    whole.mkdir()
                    save(made, whole)
                    whole.replace(folder)
                return made
    return load(folder)
