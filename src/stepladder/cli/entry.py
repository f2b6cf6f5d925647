"""The verbs: reads the command line, prints, and owns the exit code.

What a verb does is implemented in the packages below. Imports nothing heavy before a verb needs it, so that help and
errors come at once.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from stepladder.cli import discovery, stored
from stepladder.cli.arguments import VERBS as DESCRIBED
from stepladder.cli.arguments import Asked, help_text, taken_apart, version_text
from stepladder.cli.terminal import guard_streams
from stepladder.cli.threads import begin_again
from stepladder.distributed.topology import over, place
from stepladder.errors import ConfigError, StepladderError, UserError, VerificationError
from stepladder.io.redaction import mask, mask_arguments, mask_tracebacks, meet

if TYPE_CHECKING:
    from stepladder.config.compose import Composed
    from stepladder.runs.run import Circumstances


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
        if arguments is None and asked.verb in COMPUTING:
            begin_again()
        here = place()
        if not here.leads:
            from stepladder.distributed.launch import follow

            return follow(here, asked.verb in COMPUTING)
        _notice(asked.notices)
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


def _composed(asked: Asked) -> tuple[Composed, dict[str, Any]]:
    from stepladder.config.settle import settled

    composed, config = settled(asked.overrides, asked.config_dir, asked.trust)
    _notice([*composed.notices, *composed.dropped])
    return composed, config


def _notice(notices: Sequence[str]) -> None:
    for notice in notices:
        print(f"note: {mask(notice)}", file=sys.stderr)


def _around(asked: Asked, config: Mapping[str, Any], heavy: bool = True) -> Circumstances:
    from stepladder.cli.terminal import Terminal
    from stepladder.config.settle import validate
    from stepladder.runs.run import Circumstances
    from stepladder.runs.stages import older_results
    from stepladder.store.store import Store

    terminal = Terminal()
    older = older_results(asked.outputs)
    _notice([older] if older else [])
    built = validate(config, asked.trust, heavy)
    return Circumstances(
        store=Store(asked.outputs, terminal.note),
        compute=built["compute"].object,
        gate=built["gate"].object,
        tracking=built["tracking"].object,
        progress=terminal,
        trust=asked.trust,
    )


def show(asked: Asked) -> dict[str, Any]:
    from stepladder.config.compose import expanded
    from stepladder.config.present import as_experiment, presentable
    from stepladder.config.settle import validate
    from stepladder.runs.suggestions import dependent_values

    composed, config = _composed(asked)
    validate(config, asked.trust, heavy=asked.keys)
    told: dict[str, Any] = {"config": expanded(presentable(config)), "choices": dict(composed.choices)}
    if asked.prompt is not None:
        from stepladder.config.experiment import Experiment
        from stepladder.runs.prompts import first_prompts

        experiment = Experiment.from_config(config, composed.choices)
        shown = first_prompts(experiment, _around(asked, config), asked.prompt)
        asked.say("\n".join(shown.lines()))
        return {**told, **shown.as_dict()}
    if not asked.as_json:
        print(as_experiment(asked.overrides, asked.config_dir, comments=dependent_values(composed, config)), end="")
    if asked.keys:
        from stepladder.runs.keys import stored_keys

        told["keys"] = stored_keys(config, composed.choices, asked.outputs, asked.trust)
        for name, key in told["keys"].items():
            asked.say(f"# {name} {key['key']} {'in the store' if key['stored'] else 'not in the store'}")
    return told


def check(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.threads import seconds_of_process
    from stepladder.config.experiment import Experiment
    from stepladder.gate import refuse
    from stepladder.runs.check import expectations, in_store, rehearsed
    from stepladder.runs.expected_time import expected_time
    from stepladder.runs.stages import prepare
    from stepladder.studies.variants import cells

    composed, config = _composed(asked)
    around = _around(asked, config)
    experiment = Experiment.from_config(config, composed.choices)
    prepared = prepare(experiment, asked.trust, around.read)
    stored = in_store(prepared, around.store)
    started = seconds_of_process()
    findings, facts = rehearsed(prepared, around)
    refused = [found for found in findings if found.stops]
    time = None
    if not refused and around.compute.slurm is None:
        # A rehearsal loads the model and renders the prompts, as the run does, and then times its steps.
        started += max(0.0, seconds_of_process() - started - facts.get("timing_seconds", 0.0))
        time = expected_time(prepared, prepare(experiment, asked.trust, around.read), around, facts, stored, started)
    told = expectations(prepared, around.store, max(1, cells(config["comparison"]["vary"]) - 1), findings, time)
    for line in told["lines"]:
        asked.say(line)
    refuse(findings)
    return told


def run(asked: Asked) -> dict[str, Any]:
    from stepladder.config.experiment import Experiment
    from stepladder.runs.run import run as run_experiment

    composed, config = _composed(asked)
    around = replace(_around(asked, config), fresh=asked.fresh)
    made = run_experiment(Experiment.from_config(config, composed.choices), around)
    told = made.as_dict()
    for suite, metrics in told["scores"].items():
        for name, found in metrics.items():
            asked.say(f"{suite}.{name}: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}], n={found['n']}")
    warnings = [found["told"] for found in told["gate"] if found["odd"]]
    passed, checks = len(told["gate"]) - len(warnings), len(told["gate"])
    of_all = f"{passed} of {checks}" if warnings else f"all {checks}"
    asked.say("\n  warning: ".join([f"preflight: {of_all} checks passed", *warnings]))
    for suite, left_out in made.left_out.items():
        for what, why in left_out.items():
            asked.say(f"{suite}: {what} left out ({why})")
    asked.say(f"scores in {told['folders']['score']}")
    return told


def compare(asked: Asked) -> dict[str, Any]:
    from stepladder.reports.comparison import write
    from stepladder.studies.comparison import compare as compare_planned
    from stepladder.studies.variants import plan

    planned = plan(asked.overrides, asked.config_dir, asked.trust)
    _notice(planned.notices)
    around = _around(asked, planned.config, heavy=False)
    tuning = None
    if planned.comparison.tune:
        from stepladder.studies.tuned import tuned

        planned, tuning = tuned(planned, asked.overrides, asked.config_dir, around)
    told = write(compare_planned(planned, around, tuning, _command(asked)))
    _print_table(asked, told)
    asked.say(f"report: {told['report']}")
    return told


def _command(asked: Asked) -> str:
    """The command line, to be said again; secrets masked."""
    own = ["--config-dir", str(asked.config_dir)] if asked.config_dir else []
    trusted = [word for prefix in asked.trust for word in ("--trust", prefix)]
    limit = [] if asked.limit is None else ["--limit", str(asked.limit)]
    words = ["stepladder", asked.verb, *asked.words, *limit, *own, *trusted, "--outputs", str(asked.outputs)]
    return shlex.join(mask_arguments(words))


def _print_table(asked: Asked, told: Mapping[str, Any]) -> None:
    from rich.console import Console

    from stepladder.reports.summary import NARROW, summary

    console = Console(stderr=asked.as_json)
    if not console.is_terminal:
        console = Console(stderr=asked.as_json, width=NARROW)
    console.print(summary(told, console.width))


def predict(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.dataset.writing import check_destination
    from stepladder.runs.answer import answer
    from stepladder.runs.run import Circumstances
    from stepladder.store.store import Store
    from stepladder.studies.recommended import recommended, study_of

    asked, settings = asked.without_settings()
    folder, file = asked.paths()
    if asked.to is not None:
        check_destination(asked.to, file)
    told: dict[str, Any] = {}
    study = study_of(str(folder), asked.outputs)
    if study is not None:
        chosen = recommended(study)
        folder, told = chosen.folder, {"recommended": chosen.method}
        _notice([f"answered by the recommended method: {chosen.method}" + (f" ({chosen.note})" if chosen.note else "")])
    terminal = Terminal()
    around = Circumstances(store=Store(asked.outputs, terminal.note), progress=terminal, trust=asked.trust)
    answered = answer(folder, file, around, model=settings["model"], reading=settings["dataset"])
    rows = [asdict(prediction) for prediction in answered.predictions]
    if asked.to is not None:
        answered.write(asked.to)
        asked.say(f"{len(answered.by_record)} rows with {len(rows)} answers in {asked.to}")
    elif not asked.as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    to = str(asked.to) if asked.to else None
    accounts = answered.accounts.as_dict()
    return {"folder": str(folder), "file": str(file), "to": to, **told, "predictions": rows, "rows": accounts}


def sweep(asked: Asked) -> dict[str, Any]:
    from stepladder.cli.terminal import Terminal
    from stepladder.reports.sweep import page
    from stepladder.runs.run import run as run_experiment
    from stepladder.studies.sweep import sweep as studies
    from stepladder.studies.sweep.plan import plan

    read: dict[str, Any] = {}
    planned = plan(asked.overrides, asked.config_dir, asked.trust, read)
    _notice(planned.dropped)
    around = studies.circumstances(planned, asked.outputs, read, Terminal())
    if asked.status:
        told = studies.status(planned, around)
        asked.say(json.dumps(told, indent=1, ensure_ascii=False))
        return told
    found = studies.search(planned, asked.overrides, around)
    winner = found.winner
    test = None if winner is None else run_experiment(winner.on("test"), around)
    told = studies.concluded(found, test, around, page)
    for line in studies.told_lines(told):
        asked.say(line)
    return told


VERBS: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "init": discovery.init,
    "options": discovery.options,
    "show": show,
    "check": check,
    "run": run,
    "compare": compare,
    "sweep": sweep,
    "predict": predict,
    "reproduce": stored.reproduce,
    "diff": stored.diff,
    "list": stored.list_runs,
    "clean": stored.clean,
    "completion": discovery.completion,
}
COMPUTING = frozenset({"check", "run", "compare", "sweep", "predict", "reproduce"})


if __name__ == "__main__":
    sys.exit(main())
