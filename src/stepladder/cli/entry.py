"""The entry point of the command line: runs a verb, prints its result and returns the exit code.

Nothing heavy is imported before a verb needs it, so that help and errors are fast.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from stepladder.cli.arguments import VERBS as DESCRIBED
from stepladder.cli.arguments import Arguments, help_text, parse, version_text
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
from stepladder.io.redaction import mask, mask_tracebacks, remember_secrets


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default that of this process; `arguments` are without the program name.

    Returns:
        The exit code: 0 done, 2 an error that the user can fix, 3 a failed check, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    remember_secrets(words)
    if arguments is None:
        mask_tracebacks()
        guard_streams()
    try:
        if (information := _information(words)) is not None:
            name, text = information
            print(json.dumps({name: text}) if "--json" in words else text)
            sys.stdout.flush()
            return 0
        parsed = parse(words)
        if parsed.verb in COMPUTING:
            wait_briefly()
        here = place()
        if not here.leads:
            from stepladder.distributed.launch import follow

            return follow(here, parsed.verb in COMPUTING)
        notify(parsed.notices)
        result = _run_verb(parsed)
        if parsed.as_json:
            from stepladder.io.serialise import to_plain

            print(json.dumps(to_plain(result), ensure_ascii=False))
        sys.stdout.flush()
        return 0
    except VerificationError as error:
        if "--json" in words and error.result is not None:
            print(json.dumps(error.result, ensure_ascii=False))
        return _fail(error, 3)
    except StepladderError as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        print("Interrupted. Finished work is saved; run the same command again to resume.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _abandon_stdout()
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _abandon_stdout()
        full = error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
        where = str(error.filename or ("stdout" if full else ""))  # other writers name the file
        return _fail(UserError(f"{error.strerror}", where, "check the path, its permissions and the space left"), 2)
    finally:
        over()


def _information(words: Sequence[str]) -> tuple[str, str] | None:
    """Name and text of the help or the version, if the command line asks for it."""
    given = words[: words.index("--")] if "--" in words else words
    if "--version" in given:
        return "version", version_text()
    if not words or "--help" in given or "-h" in given or words[0] == "help":
        named = [word for word in words[:2] if word in DESCRIBED]
        return "help", help_text(named[0] if named else None)
    return None


def _run_verb(parsed: Arguments) -> Any:
    try:
        return VERBS[parsed.verb](parsed)
    except ConfigError as error:
        from stepladder.config.fault_locations import located

        raise located(error, parsed.words, parsed.config_dir) from error


def _abandon_stdout() -> None:
    """Redirect stdout to the null device if it cannot be written, so that Python reports no error at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception, code: int) -> int:
    print(f"stepladder: {mask(str(error))}", file=sys.stderr)
    return code


VERBS: dict[str, Callable[[Arguments], Any]] = {
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
