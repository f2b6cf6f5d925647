"""Folders named by content: look, lock, look again, make, and write done.json last.

Knows folders, locks and files; knows nothing of what stages make. A folder without done.json is unfinished, and the
next process that wants it makes it anew in its place.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout

from stepladder.errors import StoreError, UserError
from stepladder.files import UNFINISHED, discard, read_json, settle, write_text

Kind = Literal["fits", "predictions", "scores"]


@dataclass(frozen=True)
class Form:
    """What a folder's content is made from: its `key`, a readable `label`, the stored `config`, and the `full` form
    (defaults too) that must be the same on every hit."""

    key: str
    label: str
    config: Mapping[str, Any]
    full: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A finished folder; `facts` are the figures of its making."""

    folder: Path
    key: str
    reused: bool
    facts: Mapping[str, Any]


class Store:
    """All results of all runs under one root."""

    def __init__(self, root: Path, note: Callable[[str], None] = lambda text: None) -> None:
        self.root, self._note = root.absolute(), note

    def find(self, kind: Kind, key: str) -> Entry | None:
        """The finished folder of `key`, if there is one."""
        for folder in sorted((self.root / kind).glob(f"*-{key[:16]}")):
            done = read_json(folder / "done.json")
            if done is not None and done.get("key") == key:
                return Entry(folder, key, True, done.get("facts", {}))
        return None

    def take(self, kind: Kind, form: Form, make: Callable[[Path], Mapping[str, Any]]) -> Entry:
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
        """Raises StoreError when the folder was made from another full form: a default has changed since."""
        stored = yaml.safe_load((entry.folder / "full.yaml").read_text(encoding="utf-8"))
        changed = list(_differences(stored, yaml.safe_load(_yaml(form.full))))
        if changed:
            raise StoreError(
                "A stored result was made under other defaults than these: " + "; ".join(changed[:5]),
                str(entry.folder),
                "say the old values in the configuration to read it, or take another --outputs folder to make it anew",
            )

    def shared(self) -> Path:
        """Where indexes and other content-keyed things are kept."""
        return self._folder("indexes")

    def study(self, name: str) -> Path:
        return self._folder("studies") / name

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The folder can not be made: {error.strerror}", str(folder), "name a writable place with --outputs DIR"
            ) from error
        return folder

    @contextmanager
    def _locked(self, kind: Kind, key: str) -> Iterator[None]:
        lock = FileLock(self._folder("locks") / f"{kind}-{key[:16]}.lock")
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            self._note(f"another process is making this ({kind} {key[:16]}); waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _made(self, kind: Kind, form: Form, make: Callable[[Path], Mapping[str, Any]]) -> Entry:
        folder = self._folder(kind) / f"{form.label}-{form.key[:16]}".lstrip("-")
        unfinished = [f for f in (self.root / kind).glob(f"*-{form.key[:16]}") if f.is_dir()]
        folder = unfinished[0] if unfinished else folder
        folder.mkdir(exist_ok=True)
        for left in [*folder.rglob(f"{UNFINISHED}*")]:
            discard(left) if left.is_dir() else left.unlink(missing_ok=True)
        write_text(folder / "config.yaml", _yaml(form.config))
        write_text(folder / "full.yaml", _yaml(form.full))
        try:
            facts = make(folder)
        except UserError:
            # what the user will mend has another key, or is made anew: nothing half-written stays
            shutil.rmtree(folder)
            raise
        done = {"key": form.key, "facts": facts, "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        settle(folder)
        write_text(folder / "done.json", json.dumps(done, indent=1, ensure_ascii=False))
        settle(folder)
        return Entry(folder, form.key, False, facts)


def _yaml(value: Any) -> str:
    """Plain data, whatever it came in as."""
    plain = json.loads(json.dumps(value, ensure_ascii=False))
    return yaml.dump(plain, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)  # type: ignore[no-any-return]


def _differences(before: Any, now: Any, key: str = "") -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in [*before, *(n for n in now if n not in before)]:
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}".lstrip("."))
    elif before != now:
        yield f"{key} was {before!r}, is {now!r}"
