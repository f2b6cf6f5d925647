"""The verbs: reads the command line, prints, and owns the exit code.

What a verb does is implemented in the packages below. Imports nothing heavy before a verb needs it, so that help and
errors come at once.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from stepladder.cli.arguments import VERBS as DESCRIBED
from stepladder.cli.arguments import Asked, help_text, taken_apart, version_text
from stepladder.cli.setup import notify
from stepladder.cli.terminal import guard_streams
from stepladder.cli.threads import wait_briefly
from stepladder.cli.verbs import (
    check,
    clean,
    compare,
    completion,
    diff,
    init,
    list_runs,
    options,
    predict,
    reproduce,
    run,
    show,
    sweep,
)
from stepladder.distributed.topology import over, place
from stepladder.errors import ConfigError, StepladderError, UserError, VerificationError
from stepladder.io.redaction import mask, mask_tracebacks, meet

if TYPE_CHECKING:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    meet(words)
    if arguments is None:
        mask_tracebacks()
        guard_streams()
    try:
        told_of_itself = _of_itself(words)
        if told_of_itself is not None:
            name, text = told_of_itself
            print(json.dumps({name: text}) if "--json" in words else text)
            sys.stdout.flush()
            return 0
        asked = taken_apart(words)
        if asked.verb in COMPUTING:
            wait_briefly()
        here = place()
        if not here.leads:
            from stepladder.distributed.launch import follow

            return follow(here, asked.verb in COMPUTING)
        notify(asked.notices)
        told = _called(asked)
        if asked.as_json:
            print(json.dumps(told, ensure_ascii=False))
        sys.stdout.flush()
        return 0
    except VerificationError as error:
        if "--json" in words and error.told is not None:
            print(json.dumps(error.told, ensure_ascii=False))
        return _fail(error, 3)
    except StepladderError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("Interrupted. Finished work is saved; run the same command again to resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _let_go_of_stdout()
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _let_go_of_stdout()
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        where = str(error.filename or ("stdout" if full else ""))  # all else that writes says what it writes
        return _fail(UserError(f"{error.strerror}", where, "check the path, its permissions and the space left"), 2)
    finally:
        over()


def _of_itself(words: Sequence[str]) -> tuple[str, str] | None:
    """The help or the version, where the command line asks for it."""
    given = words[: words.index("--")] if "--" in words else words
    if "--version" in given:
        return "version", version_text()
    if not words or "--help" in given or "-h" in given or words[0] == "help":
        named = [word for word in words[:2] if word in DESCRIBED]
        return "help", help_text(named[0] if named else None)
    return None


def _called(asked: Asked) -> dict[str, Any]:
    try:
        return VERBS[asked.verb](asked)
    except ConfigError as error:
        from stepladder.config import places

        raise places.located(error, asked.words, asked.config_dir) from error


def _let_go_of_stdout() -> None:
    """What stdout does not take goes nowhere, so that Python has no more to say of it."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception, code: int) -> int:
    print(f"stepladder: {mask(str(error))}", file=sys.stderr)
    return code


VERBS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "init": init.init,
    "options": options.options,
    "show": show.show,
    "check": check.check,
    "run": run.run,
    "compare": compare.compare,
    "sweep": sweep.sweep,
    "predict": predict.predict,
    "reproduce": reproduce.reproduce,
    "diff": diff.diff,
    "list": list_runs.list_runs,
    "clean": clean.clean,
    "completion": completion.completion,
}
COMPUTING = frozenset({"check", "run", "compare", "sweep", "predict", "reproduce"})


if __name__ == "__main__":
    sys.exit(main())
