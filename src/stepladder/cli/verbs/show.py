"""`show`: prints the resolved config as an experiment file, its keys, or rendered prompts."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Arguments
from stepladder.cli.setup import composed, run_context


def show(args: Arguments) -> dict[str, Any]:
    from stepladder.config.compose import expanded
    from stepladder.config.experiment_writer import as_experiment, presentable
    from stepladder.config.resolution import validate
    from stepladder.runs.suggestions import dependent_values

    composition, config = composed(args)
    validate(config, args.trust, heavy=args.keys)
    result: dict[str, Any] = {"config": expanded(presentable(config)), "choices": dict(composition.choices)}
    if args.prompt is not None:
        from stepladder.config.experiment import Experiment
        from stepladder.runs.prompts import first_prompts

        experiment = Experiment.from_config(config, composition.choices)
        shown = first_prompts(experiment, run_context(args, config), args.prompt)
        args.write_line("\n".join(shown.lines()))
        return {**result, **shown.as_dict()}
    if not args.as_json:
        comments = dependent_values(composition, config)
        print(as_experiment(args.overrides, args.config_dir, comments=comments), end="")
    if args.keys:
        from stepladder.config.experiment import Experiment
        from stepladder.runs.check import stored_keys
        from stepladder.runs.stages import prepare
        from stepladder.store.store import Store

        prepared = prepare(Experiment.from_config(config, composition.choices), args.trust)
        result["keys"] = stored_keys(prepared, Store(args.outputs))
        for name, key in result["keys"].items():
            args.write_line(f"# {name} {key['key']} {'in the store' if key['stored'] else 'not in the store'}")
    return result
