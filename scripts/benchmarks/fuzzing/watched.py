"""Runs a case in this process and returns the violated guarantees: how it ended, what it printed and what it wrote.

Python's audit hooks report every file that is opened for writing, every process and every connection; operations
outside the allowed folders are blocked. Writes from C code are found by comparing the folder before and after.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fuzzing.case import MARKER, Case

if TYPE_CHECKING:
    from stepladder.store.validation import DoneRecord

KINDS = ("fits", "predictions", "scores")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = {
    "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "os.rename": 1, "os.link": 1, "os.symlink": 1, "os.truncate": 0,
    "os.chmod": 0, "sqlite3.connect": 0,
}  # fmt: skip
"""Audit events that change a file system, and the index of their argument that names the path."""
RUNNING = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")


class Outside(BaseException):
    """A forbidden operation; not an Exception, so that no `except Exception` catches it."""


@dataclass
class Guard:
    """An audit hook that allows writing to some folders only; `found` lists the violations."""

    allowed: tuple[str, ...] = ()
    found: list[str] = field(default_factory=list)
    awake: bool = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.awake or event == "import":
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes) and ((mode and set(mode) & set("wax+")) or (flags or 0) & WRITING):
                self.check(event, os.path.realpath(os.fsdecode(path)))
        elif event in CHANGING:
            path = arguments[CHANGING[event]]
            if not any(isinstance(fd, int) and fd >= 0 for fd in arguments[CHANGING[event] + 1 :][-1:]):
                self.check(event, self._place(event, os.fsdecode(path)))
        elif event == "subprocess.Popen":
            if Path(os.fsdecode(arguments[0])).name not in ("git", "uname", "lscpu", "file"):
                self.refuse(f"a process: {arguments[1]}")
        elif event in RUNNING:
            self.refuse(f"{event}: {arguments}")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            raise ConnectionRefusedError(111, "no network here")

    def _place(self, event: str, path: str) -> str:
        whole = Path(path).absolute()
        return str(whole.parent.resolve() / whole.name)

    def check(self, event: str, path: str) -> None:
        if not any(path == place or path.startswith(place + os.sep) for place in self.allowed) and not path.startswith(
            "/dev/"
        ):
            self.refuse(f"{event} outside: {path}")

    def refuse(self, what: str) -> None:
        self.found.append(what)
        raise Outside(what)


GUARD = Guard()


@dataclass
class Done:
    """How one command ended."""

    words: tuple[str, ...]
    code: int | None
    out: str
    err: str
    raised: str = ""

    def faults(self) -> Iterator[str]:
        said = f"stepladder {' '.join(self.words)[:300]}: "
        if self.raised:
            yield said + self.raised
            return
        allowed = (0, 2, 3) if "--verify" in self.words else (0, 2)
        if self.code not in allowed:
            yield said + f"exit code {self.code}: {self.err[-500:]}"
        if "Traceback (most recent call last)" in self.out + self.err:
            yield said + f"a traceback was printed: {self.err[-2000:]}"
        if self.code == 2 and not self.message.strip():
            yield said + "exit code 2 without a word"
        if "--json" in self.words:
            yield from (said + fault for fault in self._of_json())

    def _of_json(self) -> Iterator[str]:
        if self.code == 0 or self.out.strip():
            try:
                whole = json.loads(self.out)
            except ValueError:
                yield f"stdout is no JSON: {self.out[:200]!r}"
            else:
                if not isinstance(whole, dict):
                    yield f"stdout is no object: {self.out[:200]!r}"

    @property
    def message(self) -> str:
        return self.err.rpartition("stepladder: ")[2]


def run_quietly(words: Sequence[str]) -> Done:
    """Run one command line and capture its output, with the encodings of a real process."""
    from stepladder.cli.entry import main

    out, err = io.BytesIO(), io.BytesIO()
    streams, code, raised = (
        (io.TextIOWrapper(out, "utf-8"), io.TextIOWrapper(err, "utf-8", errors="backslashreplace")),
        None,
        "",
    )
    with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
        try:
            code = main(list(words))
        except Outside as error:
            raised = f"{error} {_where(error)}"
        except SystemExit as error:
            raised = f"SystemExit {error.code} {_where(error)}"
        except Exception as error:  # noqa: BLE001  # any exception that reaches this point is a fault
            raised = f"{type(error).__name__}: {str(error)[:300]} {_where(error)}"
    for stream in streams:
        stream.flush()
    return Done(
        tuple(words), code, out.getvalue().decode("utf-8", "replace"), err.getvalue().decode("utf-8", "replace"), raised
    )


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        f"{Path(f.filename).name}:{f.lineno} {f.name}"
        for f in frames
        if "stepladder" in f.filename and "fuzzing" not in f.filename
    ]
    last = frames[-1]
    return f"<- {' > '.join(own[-4:])}; at {Path(last.filename).name}:{last.lineno} {last.name}"


@dataclass
class StoreSnapshot:
    """A snapshot of a store: the complete folders with the hashes of all files, and the done.json of every folder."""

    whole: dict[Path, dict[str, str]]
    dones: dict[Path, bytes | None]

    @classmethod
    def of(cls, outputs: Path) -> StoreSnapshot:
        return cls(dict(_whole(outputs)), _dones(outputs))


@dataclass
class Result:
    """The result of a case."""

    codes: list[int | None]
    faults: list[str]
    messages: list[str]
    seconds: float


def tried(case: Case, root: Path, originals: Path | None) -> Result:
    """Run a case in a new folder under `root`, which is removed again."""
    from stepladder.io import redaction

    redaction._remembered.clear()  # secrets of earlier cases are not masked in this one
    home = root / "case"
    work = home / "work"
    if home.exists():
        _removed(home)
    shutil.copytree(originals, work, symlinks=True) if originals else work.mkdir(parents=True)
    for place in (home, work):
        (place / "outside").mkdir()
        (place / "outside" / "kept.txt").write_text("kept", encoding="utf-8")
    for name, content in case.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content)
    for change in case.changes:
        try:
            change.apply(work)
        except (OSError, ValueError):  # one change has made another one impossible
            continue
    began = time.perf_counter()
    before, stood = _snapshot(home), StoreSnapshot.of(work / "outputs")
    done, found = [], []
    with _guarded(work), chdir(work):
        for words in case.commands:
            done.append(run_quietly([_last(word, work) for word in words]))
    found += [fault for each in done for fault in each.faults()]
    found += [fault for fault in GUARD.found if not any(fault in f for f in found)]
    found += _changed(before, _snapshot(home))
    found += _store_faults(stood, work / "outputs", any(words[0] == "clean" for words in case.commands))
    if any(MARKER in path.name for path in root.rglob("*marker*")):
        found.append("code from the input ran: the marker is there")
    messages = [each.message.splitlines()[0] for each in done if each.code == 2 and each.message.strip()]
    seconds = time.perf_counter() - began
    _removed(home)
    return Result([each.code for each in done], found, messages, seconds)


def _removed(folder: Path) -> None:
    """Remove a folder, or a link to one without following it."""
    folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)


@contextmanager
def _guarded(work: Path) -> Iterator[None]:
    places = [work / "outputs", *(Path(os.environ[name]) for name in ("STEPLADDER_CACHE", "HOME", "TMPDIR"))]
    GUARD.allowed, GUARD.found = tuple(os.path.realpath(place) for place in places), []
    GUARD.awake = True
    try:
        yield
    finally:
        GUARD.awake = False


def _last(word: str, work: Path) -> str:
    if word != "LAST":
        return word
    scores = sorted((work / "outputs" / "scores").glob("*"))
    return str(scores[-1] if scores else "outputs/scores/none")


def _snapshot(home: Path) -> dict[str, str]:
    """Everything under `home` except the outputs: a hash or a description, by name."""
    found = {}
    for folder, names, files in os.walk(home):
        if Path(folder) == home / "work":
            names[:] = [name for name in names if name != "outputs"]
        for name in names:
            found[str(Path(folder, name))] = "a folder"
        for name in files:
            path = Path(folder, name)
            found[str(path)] = (
                f"a link to {path.readlink()}" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
            )
    return found


def _changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"outside the outputs: {name} was {before.get(name)}, is {after.get(name)}" for name in names]


def _whole(outputs: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Finished folders whose files match their done.json, with the hashes of all files."""
    for kind in KINDS:
        for folder in (outputs / kind).glob("*") if (outputs / kind).is_dir() else ():
            if not folder.is_symlink() and folder.is_dir() and (done := _done(folder)) is not None:
                hashes = {
                    p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
                    for p in folder.rglob("*")
                    if p.is_file()
                }
                if done.files and all(hashes.get(name) == value for name, value in done.files.items()):
                    yield folder, hashes


def _done(folder: Path) -> DoneRecord | None:
    from stepladder.store.store import done

    try:
        return done(folder)
    except OSError:
        return None


def _dones(outputs: Path) -> dict[Path, bytes | None]:
    """Every folder of the store with the content of its done.json, or None."""
    found: dict[Path, bytes | None] = {}
    for kind in KINDS:
        for folder in (outputs / kind).glob("*") if (outputs / kind).is_dir() else ():
            if folder.is_dir() and not folder.is_symlink():
                done = folder / "done.json"
                found[folder] = done.read_bytes() if done.is_file() else None
    return found


def _store_faults(stood: StoreSnapshot, outputs: Path, cleaned: bool) -> Iterator[str]:
    now = StoreSnapshot.of(outputs)
    for folder, hashes in stood.whole.items():
        if not cleaned and now.whole.get(folder) != hashes:
            yield f"a finished folder is not what it was: {folder.name}"
    for folder, done in now.dones.items():
        if folder not in stood.dones and done is None:
            there = sorted(p.name for p in folder.iterdir())
            yield f"a half-written folder: {folder.parent.name}/{folder.name} has {there}"
        elif done is not None and stood.dones.get(folder) != done and folder not in now.whole:
            yield f"a folder was finished with other files than its done.json lists: {folder.parent.name}/{folder.name}"
