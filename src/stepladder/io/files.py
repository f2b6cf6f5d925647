"""Writes files and directories atomically, and reads and writes JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TypeVar

from stepladder.errors import UserError

T = TypeVar("T")

UNFINISHED = ".unfinished-"
"""Prefix of files that are being written or removed; a killed process may leave one."""


def expand_home(text: str) -> Path:
    """A path with `~` expanded to a home directory, or unchanged if there is no such user."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    temporary = Path(name)
    try:
        with os.fdopen(number, "wb") as stream:  # closing the stream writes the rest, or fails
            stream.write(content)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Add the path to an OSError without a file name, and an error number if it has none."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        what = error.strerror or f"It cannot be written: {error}"
        raise OSError(error.errno or errno.EIO, what, str(path)) from error


def grant_by_umask(files: Iterable[Path]) -> None:
    """Give files the permissions of the umask, because some libraries create files that only the owner can read."""
    wanted = 0o666 & ~_umask()
    for file in files:
        if file.stat().st_mode & 0o777 != wanted:
            file.chmod(wanted)


def file_in(folder: Path, name: str) -> Path:
    """The path of a file in a directory.

    Raises:
        UserError: The name leads out of the directory.
    """
    if "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UserError(f"'{name}' leads out of its directory", str(folder), "name a file in it")
    return folder / name


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is in a directory, after following links. Links of a hub's cache lead to its blobs."""
    home = folder.parent.parent if folder.parent.name == "snapshots" else folder
    return file.resolve().is_relative_to(home.resolve())


def flush_to_disk(path: Path) -> None:
    """Flush a file, or a directory with everything in it, to the disk (fsync)."""
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard(path: Path) -> None:
    """Remove a file, a link or a directory, if it exists. A directory is renamed first, so that a killed process leaves
    it complete or under another name."""
    if path.is_symlink() or path.is_file():
        path.unlink(missing_ok=True)
    elif path.is_dir():
        gone = path if path.name.startswith(UNFINISHED) else path.with_name(f"{UNFINISHED}{path.name}")
        path.replace(gone)
        shutil.rmtree(gone)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object per line."""
    write_text(path, json_lines(rows))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Text with one JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON object of each line."""
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def content_hash(path: Path) -> str:
    """SHA-256 of a file's content in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None if the file is missing or is no JSON object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None  # missing, not UTF-8, not JSON, or nested too deep
    return found if isinstance(found, dict) else None


def cached(
    shared: Path | None,
    name: str,
    make: Callable[[], T],
    save: Callable[[T, Path], None],
    load: Callable[[Path], T],
) -> T:
    """Load a value from a directory of `shared`, or make it and save it there. One process makes it, others wait.

    Args:
        shared: The directory of cached values; None makes the value without saving it.
        name: The name of its directory.
        make: Makes the value.
        save: Saves the value in a directory.
        load: Loads the value from a directory.

    Raises:
        UserError: The saved value cannot be loaded.
    """
    if shared is None:
        return make()
    folder = shared / name
    if not _is_complete(folder):
        shared.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock

        with FileLock(f"{folder}.lock"):
            if not _is_complete(folder):
                made = make()
                with tempfile.TemporaryDirectory(dir=shared) as work:
                    whole = Path(work) / "whole"
                    whole.mkdir()
                    with named_errors(folder):
                        save(made, whole)
                    (whole / HASHES).write_text(json.dumps(_hashes(whole)), encoding="utf-8")
                    grant_by_umask(file for file in whole.rglob("*") if file.is_file())
                    discard(folder)
                    whole.replace(folder)
                return made
    try:
        return load(folder)
    except (ValueError, KeyError, EOFError) as error:
        raise UserError(f"A cached directory is broken: {error}", str(folder), "delete it; it is made again") from error


HASHES = "hashes.json"
"""A file in each cached directory with the hashes of its other files."""


def _is_complete(folder: Path) -> bool:
    """Whether the directory exists with unchanged files. A damaged one is made again."""
    return not folder.is_symlink() and (folder / HASHES).is_file() and read_json(folder / HASHES) == _hashes(folder)


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: content_hash(file) for file in folder.iterdir() if file.is_file() and file.name != HASHES}
