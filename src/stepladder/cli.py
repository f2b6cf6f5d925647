"""The verbs: reads the command line, prints, and owns the exit code.

Knows what each verb takes and prints; what it does stands in the rooms below. Imports nothing heavy before a verb needs
it, so that help and faults come at once.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stepladder import stored
from stepladder.command_line import FLAGS, OF_VERB, Asked, taken_apart
from stepladder.environment import begin_again
from stepladder.errors import StepladderError, UserError, VerificationError
from stepladder.masking import mask, mask_arguments, mask_tracebacks, meet
from stepladder.runs.places import over, place

if TYPE_CHECKING:
    from stepladder.config.compose import Composed
    from stepladder.runs.run import Circumstances

HELP = """\
stepladder VERB [overrides ...] [flags]

  show      print the resolved configuration, fit to be saved as an experiment file   [--keys] [--prompt [N]]
  check     bind and validate all that a run would use, read the data, count it, look through the gate; trains nothing
  run       one experiment: fit, predict, score                                       [--fresh]
  compare   many experiments on the same held-out rows: one table, paired differences, a verdict
  sweep     search a space on the validation rows, then score the winner on the test rows   [--status]
  predict   FOLDER FILE [model.path=DIR]: answer new questions with a stored fit      [--to FILE]
  reproduce FOLDER: make a stored run again in a fresh store, and compare             [--verify]
  diff      A B: what differs between two stored runs
  list      KEY=VALUE ...: the stored runs with these values (method, seed, date, study, any key of the configuration)
  clean     KEY=VALUE ...: remove what is unfinished or belongs to no study           [--dry-run]
  completion bash | zsh | fish: a script that completes verbs, groups, options and flags

Overrides are Hydra's: GROUP=OPTION and KEY=VALUE. A first look, in seconds:
  stepladder compare experiment=first_look
The main job:
  stepladder compare comparison=ladder dataset=faq_route
A search:
  stepladder sweep sweep=lora sweep.trials=20 sweep.workers=2
Your own data:
  stepladder compare dataset=file dataset.train=my.csv dataset.input=text dataset.target=label

Flags of every verb:
  --config-dir DIR   your own conf; its files win over packaged ones of the same name
  --outputs DIR      where results are kept (default: ./outputs)
  --json             exactly one JSON object on stdout; all for people goes to stderr
  --trust PREFIX     a module prefix whose _target_s may be built (may be repeated)
Exit codes: 0 done, 2 something you can mend, 3 a check that failed, 1 a bug, 130 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    meet(words)
    if arguments is None:
        mask_tracebacks()
    if not words or words[0] in ("-h", "--help", "help") or "--help" in words or "-h" in words:
        print(HELP)
        return 0
    try:
        asked = taken_apart(words, list(VERBS))
        if arguments is None and asked.verb in COMPUTING:
            begin_again()
        here = place()
        if not here.leads:
            from stepladder.runs.launch import follow

            return follow(here, asked.verb in COMPUTING)
        told = VERBS[asked.verb](asked)
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
        print("interrupted; what is finished is kept, and the same command makes the rest", file=sys.stderr)
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

    composed, config = settled(asked.words, asked.config_dir, asked.trust)
    _notice(composed.notices)
    return composed, config


def _notice(notices: Sequence[str]) -> None:
    for notice in notices:
        print(f"note: {mask(notice)}", file=sys.stderr)


def _around(asked: Asked, config: Mapping[str, Any], heavy: bool = True) -> Circumstances:
    from stepladder.config.settle import validate
    from stepladder.runs.run import Circumstances
    from stepladder.runs.store import Store
    from stepladder.terminal import Terminal

    terminal = Terminal()
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

    composed, config = _composed(asked)
    validate(config, asked.trust, heavy=asked.keys)
    told: dict[str, Any] = {"config": expanded(presentable(config)), "choices": dict(composed.choices)}
    if asked.prompt is not None:
        from stepladder.runs.experiment import Experiment
        from stepladder.runs.prompts import first_prompts

        experiment = Experiment.from_config(config, composed.choices)
        shown = first_prompts(experiment, _around(asked, config), asked.prompt)
        asked.say("\n".join(shown.lines()))
        return {**told, **shown.as_dict()}
    if not asked.as_json:
        print(as_experiment(config, composed.choices), end="")
    if asked.keys:
        told["keys"] = _keys(asked, config, composed)
        asked.say(
            "\n".join(
                f"# {name} {key['key']} {'in the store' if key['stored'] else 'not in the store'}"
                for name, key in told["keys"].items()
            ),
        )
    return told


def _keys(asked: Asked, config: Mapping[str, Any], composed: Composed) -> dict[str, Any]:
    from stepladder.runs.experiment import Experiment
    from stepladder.runs.stages import prepare
    from stepladder.runs.store import Store

    prepared = prepare(Experiment.from_config(config, composed.choices), asked.trust)
    store = Store(asked.outputs)
    forms = {
        "fit": ("fits", prepared.fit_form),
        "predict": ("predictions", prepared.predict_form(prepared.main)),
        "score": ("scores", prepared.score_form),
    }
    return {name: {"key": f.key, "stored": store.find(kind, f.key) is not None} for name, (kind, f) in forms.items()}  # type: ignore[arg-type]


def check(asked: Asked) -> dict[str, Any]:
    from stepladder.gate import refuse
    from stepladder.runs.check import expectations, rehearsed
    from stepladder.runs.experiment import Experiment
    from stepladder.runs.stages import prepare
    from stepladder.studies.variants import cells

    composed, config = _composed(asked)
    around = _around(asked, config)
    prepared = prepare(Experiment.from_config(config, composed.choices), asked.trust)
    findings = rehearsed(prepared, around)
    told = expectations(prepared, around.store, max(1, cells(config["comparison"]["vary"]) - 1), findings)
    for line in told["lines"]:
        asked.say(line)
    refuse(findings)
    return told


def run(asked: Asked) -> dict[str, Any]:
    from stepladder.runs.experiment import Experiment
    from stepladder.runs.run import run as run_experiment

    composed, config = _composed(asked)
    around = replace(_around(asked, config), fresh=asked.fresh)
    made = run_experiment(Experiment.from_config(config, composed.choices), around)
    told = made.as_dict()
    for suite, metrics in told["scores"].items():
        for name, found in metrics.items():
            asked.say(f"{suite}.{name}: {found['value']:.4f} [{found['low']:.4f}, {found['high']:.4f}], n={found['n']}")
    odd = [found["told"] for found in told["gate"] if found["odd"]]
    asked.say("\n  ".join([f"gate: {len(told['gate'])} points looked at, {len(odd) or 'none'} odd", *odd]))
    for suite, left_out in made.left_out.items():
        for what, why in left_out.items():
            asked.say(f"{suite}: {what} left out ({why})")
    asked.say(f"scores in {told['folders']['score']}")
    return told


def compare(asked: Asked) -> dict[str, Any]:
    from stepladder.studies.comparison import compare as compare_planned
    from stepladder.studies.variants import plan

    planned = plan(asked.words, asked.config_dir, asked.trust)
    _notice(planned.notices)
    around = _around(asked, planned.config, heavy=False)
    tuning = None
    if planned.comparison.tune:
        from stepladder.studies.tuned import tuned

        planned, tuning = tuned(planned, asked.words, asked.config_dir, around)
    told = compare_planned(planned, around, tuning, _command(asked))
    _print_table(asked, told)
    asked.say(f"report: {told['report']}")
    return told


def _command(asked: Asked) -> str:
    """The command line, to be said again; secrets masked."""
    own = ["--config-dir", str(asked.config_dir)] if asked.config_dir else []
    trusted = [word for prefix in asked.trust for word in ("--trust", prefix)]
    words = ["stepladder", asked.verb, *asked.words, *own, *trusted, "--outputs", str(asked.outputs)]
    return shlex.join(mask_arguments(words))


def _print_table(asked: Asked, told: Mapping[str, Any]) -> None:
    from rich.console import Console

    from stepladder.evaluation.summary import NARROW, summary

    console = Console(stderr=asked.as_json)
    if not console.is_terminal:
        console = Console(stderr=asked.as_json, width=NARROW)
    console.print(summary(told, console.width))


def predict(asked: Asked) -> dict[str, Any]:
    from stepladder.runs.answer import answer
    from stepladder.runs.run import Circumstances
    from stepladder.runs.store import Store
    from stepladder.terminal import Terminal

    asked, model = asked.without_model()
    folder, file = asked.folders("FOLDER", "FILE")
    terminal = Terminal()
    around = Circumstances(store=Store(asked.outputs, terminal.note), progress=terminal, trust=asked.trust)
    rows, accounts = answer(folder, file, around, model)
    if asked.to is not None:
        from stepladder.files import write_lines

        write_lines(asked.to, rows)
        asked.say(f"{len(rows)} answers in {asked.to}")
    elif not asked.as_json:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False))
    to = str(asked.to) if asked.to else None
    return {"folder": str(folder), "file": str(file), "to": to, "predictions": rows, "rows": accounts}


def sweep(asked: Asked) -> dict[str, Any]:
    from stepladder.runs.run import run as run_experiment
    from stepladder.studies.sweep import sweep as studies
    from stepladder.studies.sweep.plan import plan
    from stepladder.terminal import Terminal

    read: dict[str, Any] = {}
    planned = plan(asked.words, asked.config_dir, asked.trust, read)
    around = studies.circumstances(planned, asked.outputs, read, Terminal())
    if asked.status:
        told = studies.status(planned, around)
        asked.say(json.dumps(told, indent=1, ensure_ascii=False))
        return told
    found = studies.search(planned, asked.words, around)
    winner = found.winner
    test = None if winner is None else run_experiment(winner.on("test"), around)
    told = studies.concluded(found, test, around)
    for line in studies.told_lines(told):
        asked.say(line)
    return told


def completion(asked: Asked) -> dict[str, Any]:
    """A shell's script, which asks for `words LINE`: what the last word of a line can become."""
    from stepladder.config.completion import SHELLS, candidates, script

    shell, *line = asked.words or ("",)
    if shell == "words" and len(line) == 1:
        found = candidates(line[0], list(VERBS), {flag: OF_VERB.get(flag, ()) for flag in FLAGS}, asked.config_dir)
        told: dict[str, Any] = {"candidates": found}
    elif shell in SHELLS and not line:
        told = {"shell": shell, "script": script(shell)}
    else:
        raise UserError(f"There is no completion for '{' '.join(asked.words)}'", "completion", "say bash, zsh or fish")
    if not asked.as_json:
        print(told.get("script") or "\n".join(told["candidates"]))
    return told


VERBS: dict[str, Callable[[Asked], dict[str, Any]]] = {
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
    "completion": completion,
}
COMPUTING = frozenset({"run", "compare", "sweep", "predict", "reproduce"})


if __name__ == "__main__":
    sys.exit(main())
