"""Files and folders that are whole or not there, and JSON in them. Knows nothing of what they mean."""

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
"""What the name of a file begins with that is not whole yet, or not any more; a kill may leave one behind."""


def at_home(text: str) -> Path:
    """A path in which `~` stands for a home folder; where nobody has one of that name, the text as it is."""
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def write_text(path: Path, text: str) -> None:
    """Write beside `path`, then put it in its place: a reader sees the old file or the new one, never a part."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """`write_text` for content that is no text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(dir=path.parent, prefix=UNFINISHED)
    beside = Path(name)
    try:
        with os.fdopen(number, "wb") as stream:  # closing it writes the rest, or fails
            stream.write(content)
        beside.chmod(0o666 & ~_umask())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextmanager
def written(path: Path) -> Iterator[None]:
    """What writes there and cannot is to say where; what says so without the system's number is an I/O error."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        what = error.strerror or f"It cannot be written: {error}"
        raise OSError(error.errno or errno.EIO, what, str(path)) from error


def grant_by_umask(files: Iterable[Path]) -> None:
    """Give files the permissions that a new file has here: some libraries create theirs for their owner alone."""
    wanted = 0o666 & ~_umask()
    for file in files:
        if file.stat().st_mode & 0o777 != wanted:
            file.chmod(wanted)


def within(folder: Path, name: str) -> Path:
    """The file of that name in a folder. Raises UserError where the name leads out of it."""
    if "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise UserError(f"'{name}' leads out of its folder", str(folder), "name a file that lies in it")
    return folder / name


def belongs(file: Path, folder: Path) -> bool:
    """Whether a file lies in a folder, links followed; those in a hub's cache lead to blobs beside its snapshots."""
    home = folder.parent.parent if folder.parent.name == "snapshots" else folder
    return file.resolve().is_relative_to(home.resolve())


def settle(path: Path) -> None:
    """A file, or a folder with all that is in it, safely on the disk: no power cut takes it back."""
    for each in (*(path.rglob("*") if path.is_dir() else ()), path):
        handle = os.open(each, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def discard(path: Path) -> None:
    """Remove a folder, or what is left of one, where there is one: a kill leaves it whole, or under another name. A
    file goes too, and of a link the link alone."""
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
    """One JSON object a line."""
    write_text(path, json_lines(rows))


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """The text of a file with one JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


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
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None  # not there, not UTF-8, not JSON, or nested too deep to be ours
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
    if not _is_kept(folder):
        shared.mkdir(parents=True, exist_ok=True)
        from filelock import FileLock

        with FileLock(f"{folder}.lock"):
            if not _is_kept(folder):
                made = make()
                with tempfile.TemporaryDirectory(dir=shared) as work:
                    whole = Path(work) / "whole"
                    whole.mkdir()
                    with written(folder):
                        save(made, whole)
                    (whole / HASHES).write_text(json.dumps(_hashes(whole)), encoding="utf-8")
                    grant_by_umask(file for file in whole.rglob("*") if file.is_file())
                    discard(folder)
                    whole.replace(folder)
                return made
    try:
        return load(folder)
    except (ValueError, KeyError, EOFError) as error:
        raise UserError(f"What was kept is broken: {error}", str(folder), "delete it; it is made anew") from error


HASHES = "hashes.json"
"""In a folder that is kept: the hash of every other file of it."""


def _is_kept(folder: Path) -> bool:
    """Whether it is there, and what it was made: what is broken is made anew."""
    return not folder.is_symlink() and (folder / HASHES).is_file() and read_json(folder / HASHES) == _hashes(folder)


def _hashes(folder: Path) -> dict[str, str]:
    return {file.name: content_hash(file) for file in folder.iterdir() if file.is_file() and file.name != HASHES}
