"""Runs commands in processes that are forked from one that has imported everything.

    done = forked.run(["run", "method=finetune", ...])     its exit code, stdout and stderr
    running = forked.begin(["run", ...]); running.kill()   a process that can be signalled

Importing torch, transformers and Lightning takes much longer than a fit of the toy model. The forked process has
computed nothing and runs no thread, so a command starts in the state of `python -m stepladder` after its imports. A
test of how an interpreter starts or ends needs `python -m stepladder`.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

IMPORTED = (
    "llguidance", "optuna.importance", "peft", "sklearn.compose", "sklearn.ensemble", "sklearn.feature_extraction.text",
    "sklearn.linear_model", "sqlalchemy", "statsmodels.stats.proportion", "stepladder.cli.entry",
    "stepladder.methods.adapted_model", "stepladder.methods.bag_of_words", "stepladder.models.local",
    "stepladder.engine.network", "stepladder.models.toy", "stepladder.runs.worker", "stepladder.runs.run",
    "stepladder.studies.comparison", "stepladder.studies.sweep.sweep", "stepladder.studies.sweep.work",
    "stepladder.tuning.fine_tune", "stepladder.tuning.lightning_module", "transformers.models.llama.modeling_llama",
    "wandb",
)  # fmt: skip


def server() -> ForkServerContext:
    """The fork server, which has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*IMPORTED])
    return context


class Command:
    """A command in a forked process; the methods are those of `subprocess.Popen`."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], file_size: int | None) -> None:
        context = server()
        (out, into_out), (err, into_err) = context.Pipe(duplex=False), context.Pipe(duplex=False)
        self._process = context.Process(
            target=_command,
            args=(list(words), dict(environment), str(Path.cwd()), into_out, into_err, file_size),
            daemon=True,  # it ends with this process at the latest
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._streams = [_Reading(out), _Reading(err)]
        for end in (into_out, into_err):
            end.close()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self) -> int:
        self._process.join()
        assert self._process.exitcode is not None
        return self._process.exitcode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end of the process. Returns stdout and stderr."""
        self.wait()
        for stream in self._streams:
            stream.join()
        return self._streams[0].text(), self.stderr

    @property
    def stderr(self) -> str:
        """What the process has written to stderr up to now."""
        return self._streams[1].text()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


class _Reading(threading.Thread):
    """Reads a pipe to its end, so that the process never blocks on a full pipe."""

    def __init__(self, end: Connection) -> None:
        super().__init__(daemon=True)
        self._end, self._read = end, b""
        self.start()

    def run(self) -> None:
        with self._end:
            while read := os.read(self._end.fileno(), 2**16):
                self._read += read

    def text(self) -> str:
        """What has been read up to now."""
        return self._read.decode(errors="replace")


def begin(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    file_size: int | None = None,
) -> Command:
    """Start `stepladder WORDS...`.

    Args:
        words: The command line without the program.
        environment: All its environment variables (default: those of this process).
        file_size: No file of the process may grow beyond so many bytes.
    """
    return Command(words, os.environ if environment is None else environment, file_size)


def run(
    words: Sequence[str], environment: Mapping[str, str] | None = None, file_size: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `stepladder WORDS...` to its end; the arguments are those of `begin`."""
    command = begin(words, environment, file_size=file_size)
    out, err = command.communicate()
    return subprocess.CompletedProcess([*words], command.wait(), out, err)


def _command(
    words: list[str],
    environment: dict[str, str],
    folder: str,
    out: Connection,
    err: Connection,
    file_size: int | None,
) -> None:
    """Make the forked process equivalent to `python -m stepladder WORDS...` after its imports, and run the command."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, end in ((1, out), (2, err)):
        os.dup2(end.fileno(), number)
        end.close()
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8")
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace")
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    import stepladder
    from stepladder.cli.entry import main
    from stepladder.cli.terminal import guard_streams
    from stepladder.io.redaction import mask_tracebacks

    sys.argv = [str(Path(stepladder.__path__[0]) / "__main__.py"), *words]
    mask_tracebacks()
    guard_streams()
    sys.exit(main(words))  # without words it would begin again as `python -m stepladder`
