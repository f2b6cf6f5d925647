"""The content-addressed store: finds a result by its key, or locks its directory, makes it and writes done.json last.

A directory without done.json is unfinished; the next process that needs it makes it again in its place. A later attempt
at a finished result is stored next to the first as NAME-r2, -r3. A study lists the runs that belong to it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from stepladder.errors import StoreError, UserError
from stepladder.io.cache import file_hash
from stepladder.io.files import (
    content_hash,
    discard,
    file_in,
    flush_to_disk,
    grant_by_umask,
    named_errors,
    read_json,
    write_text,
)
from stepladder.store.validation import DoneRecord
from stepladder.types import Plain

Kind = Literal["fits", "predictions", "scores"]
KINDS: tuple[Kind, ...] = ("fits", "predictions", "scores")
CHECKPOINTS = "checkpoints"
"""What an unfinished folder has that the next attempt goes on from."""

_NAME = re.compile(r"(?:.*-)?([0-9a-f]{16})(?:-r(\d+))?")


@dataclass(frozen=True)
class Form:
    """What a folder's content is made from: its `key`, a readable `label`, the stored `config`, and the `full` form
    (defaults too) that must be the same on every hit."""

    key: str
    label: str
    config: Plain
    full: Plain


@dataclass(frozen=True)
class Entry:
    """A finished folder; `facts` are the figures of its making."""

    folder: Path
    key: str
    reused: bool
    facts: Plain


def done(folder: Path) -> DoneRecord | None:
    """The record of a finished directory; None for any other directory."""
    return DoneRecord.read(read_json(folder / "done.json"), folder.parent.name)


def changed(folder: Path, hash_of: Callable[[Path], str] = content_hash) -> list[str]:
    """The files of a finished folder that are not what they were."""
    while True:
        record = done(folder)
        if record is None:
            return []
        damaged = []
        for name, hashed in record.files.items():
            file = file_in(folder, name)
            if not file.is_file() or hash_of(file) not in (hashed, record.replacing.get(name)):
                damaged.append(name)
        if not damaged or done(folder) == record:  # else another process rewrote a file in between
            return damaged


def _write_record(folder: Path, record: DoneRecord) -> None:
    write_text(folder / "done.json", json.dumps(record.as_dict(), indent=1, ensure_ascii=False))


def named(folder: Path) -> tuple[str, int] | None:
    """The beginning of the key in a folder's name, and the attempt; None where it is no name of ours."""
    found = _NAME.fullmatch(folder.name)
    return (found[1], int(found[2] or 1)) if found else None


def _suffix(attempt: int) -> str:
    return f"-r{attempt}" if attempt > 1 else ""


class Store:
    """All results of all runs under one root, as `attempt` made them."""

    def __init__(self, root: Path, note: Callable[[str], None] = lambda text: None, attempt: int = 1) -> None:
        self.root, self._note, self.attempt = root.absolute(), note, attempt

    def renewed(self, wanted: Iterable[tuple[Kind, str]]) -> Store:
        """The first attempt at which nothing of `wanted` (kinds and keys) is finished, nor at a later one."""
        last = 0
        for kind, key in wanted:
            for folder in (self.root / kind).glob(f"*{key[:16]}*"):
                name = named(folder)
                if name is not None and name[0] == key[:16] and (folder / "done.json").exists():
                    last = max(last, name[1])
        return Store(self.root, self._note, last + 1)

    def find(self, kind: Kind, key: str) -> Entry | None:
        """The finished folder of `key`, if there is one."""
        for folder in self._folders(kind, key):
            record = done(folder)
            if record is not None and record.key == key:
                return Entry(folder, key, True, record.facts)
        return None

    def _folders(self, kind: Kind, key: str) -> list[Path]:
        """The folders of a key, in the order of their names; a link leads who knows where, and is none."""
        name = re.compile(rf"(?:.*-)?{re.escape(key[:16])}{_suffix(self.attempt)}")
        there = sorted((self.root / kind).iterdir()) if (self.root / kind).is_dir() else []
        return [folder for folder in there if name.fullmatch(folder.name) and is_own(folder)]

    def take(self, kind: Kind, form: Form, make: Callable[[Path], Plain]) -> Entry:
        """The finished folder of a form: found, or made by `make(folder)`, which returns the facts of its making.

        Raises StoreError when a folder of this key was made under other defaults.
        """
        found = self.find(kind, form.key)
        if found is None:
            with self._locked(kind, form.key):
                found = self.find(kind, form.key)
                if found is None:
                    return self._made(kind, form, make)
        self.verify(found, form)
        return found

    def verify(self, entry: Entry, form: Form) -> None:
        """Raises StoreError when a file of the folder is not what it was, or when the folder was made from another full
        form: a default has changed since."""
        broken = changed(entry.folder, file_hash)
        if broken:
            raise StoreError(
                f"A stored result was changed after it was made: {', '.join(broken[:3])}",
                str(entry.folder),
                "remove that folder, it is made again; or run with --fresh beside it",
            )
        stored = read_mapping(entry.folder / "full.yaml")
        others = [f"{key} was {was!r}, is {now!r}" for key, was, now in differences(stored, _plain(form.full))]
        if others:
            raise StoreError(
                "A stored result was made under other defaults than these: " + "; ".join(others[:5]),
                str(entry.folder),
                "say the old values in the configuration to read it, or take another --outputs folder to make it again",
            )

    def rewrite(self, kind: Kind, entry: Entry, name: str, text: str) -> None:
        """Replace the file `name` of a finished folder. At no moment, and after no crash, is the folder broken: while
        it is replaced, done.json holds the hashes of the old and the new content."""
        with self._locked(kind, entry.key):
            record = done(entry.folder)
            if record is None or name not in record.files:
                return  # removed meanwhile, or made before hashes of files were kept
            old, new = content_hash(entry.folder / name), hashlib.sha256(text.encode()).hexdigest()
            record = replace(record, files={**record.files, name: new})
            _write_record(entry.folder, replace(record, replacing={name: old}))
            write_text(entry.folder / name, text)
            flush_to_disk(entry.folder)
            _write_record(entry.folder, record)
            flush_to_disk(entry.folder)

    def shared(self) -> Path:
        """Where indexes and other content-keyed things are kept. The directory is made when something is written."""
        return self.root / "indexes"

    def study(self, name: str) -> Path:
        return _no_link(file_in(self._folder("studies"), name))

    def join(self, study: str, run: Entry) -> None:
        """Note that a run, by its score's folder, belongs to a study."""
        note = self.study(study) / "runs" / run.folder.name
        if not note.exists():
            note.parent.mkdir(parents=True, exist_ok=True)
            note.touch()

    def remove(self, kind: Kind, folder: Path) -> bool:
        """Remove a folder of the store, whole or not; false where a process is making it."""
        try:
            with self._lock(kind, *(named(folder) or ("", 1))).acquire(timeout=0):
                (folder / "done.json").unlink(missing_ok=True)  # first: what is half gone is not finished
                shutil.rmtree(folder)
        except Timeout:
            return False
        return True

    def in_the_making(self, kind: Kind, folder: Path) -> bool:
        """Whether a process is at work on a folder."""
        try:
            with self._lock(kind, *(named(folder) or ("", 1))).acquire(timeout=0):
                return False
        except Timeout:
            return True

    def _lock(self, kind: Kind, key: str, attempt: int) -> FileLock:
        return FileLock(self._folder("locks") / f"{kind}-{key[:16]}{_suffix(attempt)}.lock")

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"The folder can not be made: {error.strerror}"
            raise StoreError(what, str(folder), "name a writable place with --outputs DIR") from error
        return folder

    @contextmanager
    def _locked(self, kind: Kind, key: str) -> Iterator[None]:
        lock = self._lock(kind, key, self.attempt)
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            self._note(f"another process is making this ({kind} {key[:16]}); waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _made(self, kind: Kind, form: Form, make: Callable[[Path], Plain]) -> Entry:
        name = f"{readable(form.label)}-{form.key[:16]}{_suffix(self.attempt)}".lstrip("-")
        unfinished = self._folders(kind, form.key)
        folder = unfinished[0] if unfinished else self._folder(kind) / name
        _no_link(folder).mkdir(exist_ok=True)
        for left in [*folder.iterdir()]:
            if left.name != CHECKPOINTS or not is_own(left):  # all else is made anew, whatever it has become
                discard(left)
        for left in (folder / CHECKPOINTS).glob("*"):
            if left.is_symlink() or left.is_dir():
                discard(left)
        write_text(folder / "config.yaml", _yaml(form.config))
        write_text(folder / "full.yaml", _yaml(form.full))
        try:
            with named_errors(folder):
                facts = make(folder)
        except UserError:
            # after a fix the result has another key or is made again, so no partial directory is left
            shutil.rmtree(folder)
            raise
        grant_by_umask(kept_files(folder))
        files = {file.relative_to(folder).as_posix(): content_hash(file) for file in kept_files(folder)}
        flush_to_disk(folder)
        _write_record(folder, DoneRecord(form.key, facts, datetime.now(UTC).isoformat(timespec="seconds"), files))
        flush_to_disk(folder)
        return Entry(folder, form.key, False, facts)


def readable(label: str) -> str:
    """A label as a part of a folder's name, whatever it is made of."""
    kept = "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in label)
    return kept.encode()[:160].decode(errors="ignore")


def _no_link(folder: Path) -> Path:
    """The folder. Raises StoreError where a link stands in its place."""
    if folder.is_symlink():
        to_do = "take the link away: nothing is written where it leads"
        raise StoreError("A link stands where a folder of the store is to be", str(folder), to_do)
    return folder


def is_own(folder: Path) -> bool:
    """Whether it is a folder that lies here."""
    return folder.is_dir() and not folder.is_symlink()


def read_mapping(file: Path) -> Plain:
    """The mapping in a YAML file. Raises StoreError where there is none."""
    try:
        found = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise StoreError(f"The file is broken: {error}", str(file), "name a folder that a run wrote") from error
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise StoreError("The file holds no mapping", str(file), "name a folder that a run wrote")
    return found


def kept_files(folder: Path) -> list[Path]:
    """The files of a finished folder that stay as they are."""
    found = (file for file in folder.rglob("*") if file.is_file())
    passing = (CHECKPOINTS, "done.json")
    return sorted(file for file in found if file.relative_to(folder).parts[0] not in passing)


def _yaml(value: Any) -> str:
    """Plain data, whatever it came in as."""
    return yaml.dump(_plain(value), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, ensure_ascii=False))


def differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every value that two pieces of plain data do not share: its dotted key, what it was, what it is."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in [*before, *(n for n in now if n not in before)]:
            yield from differences(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif before != now:
        yield key, before, now
