"""The storage of a study and the locks of its workers: a journal with file locks, or PostgreSQL with advisory locks.

A lock is released when the process that holds it dies, so a killed worker is noticed at once, without a timeout.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from stepladder.config.interpolation import of_environment
from stepladder.errors import ConfigError, Fault, UserError
from stepladder.io.redaction import mask, remember_secrets

SECONDS_TO_ANSWER = 10

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class Journal(JournalFileBackend):  # type: ignore[misc]
    """A journal that a killed writer can not ruin: a torn last line is put aside before the next one is written."""

    def __init__(self, file: Path) -> None:
        # the kernel takes this lock back from a killed process
        self.file, self.lock = file, FileLock(file.with_suffix(".lock"))
        super().__init__(str(file), lock_obj=self.lock)
        with self.lock:
            repair_journal(file)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with self.lock:
            repair_journal(self.file)
            super().append_logs(logs)


def repair_journal(journal: Path) -> None:
    """Put what follows the last whole line of a journal into a file next to it (`.torn`)."""
    with journal.open("rb+") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        if size == 0 or stream.read() == b"\n":
            return
        stream.seek(0)
        whole = stream.read().rfind(b"\n") + 1
        stream.seek(whole)
        with journal.with_suffix(".torn").open("ab") as torn:
            shutil.copyfileobj(stream, torn)
            torn.write(b"\n")
        stream.truncate(whole)


class FileLocks:
    """Which process may change a study now (`exclusive`), and which workers are alive, by locks on files."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.me = folder / "workers", _name()
        self.folder.mkdir(parents=True, exist_ok=True)
        self._claim = FileLock(folder / "claim.lock")
        self._mine = FileLock(self.folder / f"{self.me}.lock")
        self._mine.acquire()

    def exclusive(self) -> FileLock:
        return self._claim

    def alive(self, worker: str) -> bool:
        file = self.folder / f"{worker}.lock"
        if worker == self.me or not file.exists():
            return worker == self.me
        try:
            with FileLock(file, timeout=0):
                return False
        except Timeout:
            return True


class ServerLocks:
    """The same by advisory locks of a PostgreSQL server, which it takes back when a connection ends."""

    def __init__(self, url: str, study: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            what = "psycopg, which speaks to PostgreSQL, is not installed"
            raise ConfigError(Fault("sweep.storage", what, "pip install 'stepladder[postgresql]'")) from error
        self.me, self.study = _name(), study
        try:
            self._connection: Any = psycopg.connect(
                url, autocommit=True, connect_timeout=SECONDS_TO_ANSWER, keepalives_idle=30, keepalives_interval=10
            )
        except psycopg.Error as error:
            raise _no_answer(error) from error
        self._call("pg_advisory_lock", f"worker {self.me}")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        self._call("pg_advisory_lock", f"study {self.study}")
        try:
            yield
        finally:
            self._call("pg_advisory_unlock", f"study {self.study}")

    def alive(self, worker: str) -> bool:
        if worker == self.me:
            return True
        gone = self._call("pg_try_advisory_lock", f"worker {worker}")
        if gone:
            self._call("pg_advisory_unlock", f"worker {worker}")
        return not gone

    def _call(self, function: str, name: str) -> bool:
        import psycopg

        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        try:
            return bool(self._connection.execute(f"SELECT {function}(%s)", (key,)).fetchone()[0])
        except psycopg.Error as error:
            raise _no_answer(error) from error


@contextmanager
def answering() -> Iterator[None]:
    """What a server says when it is gone in the middle of it, as an error that the user can fix."""
    import sqlalchemy

    try:
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise _no_answer(error) from error


def _name() -> str:
    """A name for this process among all workers of a study, on whatever machine."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


def opened(
    url: str | None, folder: Path, study: str, directions: Sequence[str] | None
) -> tuple[optuna.Study, FileLocks | ServerLocks]:
    """The study, made where it is not there and `directions` are given.

    Raises UserError where it is not there, or where the storage does not answer or is broken.
    """
    if url is None:
        if directions is None and not (folder / "study.journal").is_file():
            raise _no_study(study)
        folder.mkdir(parents=True, exist_ok=True)
        files = FileLocks(folder)
        with files.exclusive():
            return _study(lambda: JournalStorage(Journal(folder / "study.journal")), study, directions), files
    url = "postgresql://" + of_environment(url).partition("://")[2]
    remember_secrets([url])
    locks = ServerLocks(url, study)
    import sqlalchemy

    with locks.exclusive():
        try:
            engine = {"pool_pre_ping": True, "connect_args": {"connect_timeout": SECONDS_TO_ANSWER}}
            storage = RDBStorage(url.replace("postgresql://", "postgresql+psycopg://", 1), engine_kwargs=engine)
            return _study(lambda: storage, study, directions), locks
        except sqlalchemy.exc.SQLAlchemyError as error:
            raise _no_answer(error) from error


def _study(begin: Callable[[], BaseStorage], name: str, directions: Sequence[str] | None) -> optuna.Study:
    """Opening a journal reads all of it, so that a broken one is found here."""
    try:
        storage = begin()
        if directions is None:
            if name not in optuna.get_all_study_names(storage):
                raise _no_study(name)
            return optuna.load_study(study_name=name, storage=storage)
        return optuna.create_study(
            storage=storage, study_name=name, directions=list(directions), load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
        )  # fmt: skip
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        to_do = "put it aside to begin anew, or fix the line"
        raise UserError(f"The study's storage is broken: {error}", "sweep.storage", to_do) from error


def _no_study(name: str) -> UserError:
    return UserError(f"There is no study {name} yet", "--status", "begin it: the same command without --status")


def _no_answer(error: Exception) -> UserError:
    message = mask(str(error)).strip().splitlines()
    what = f"The storage does not answer: {message[0] if message else type(error).__name__}"
    return UserError(what, "sweep.storage", "check that the server runs, and the URL's user, password and database")
