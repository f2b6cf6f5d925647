"""`show`: prints the resolved config as an experiment file, its keys, or rendered prompts."""

from __future__ import annotations

from typing import Any

from stepladder.cli.arguments import Asked
from stepladder.cli.setup import composed, run_context


def show(asked: Asked) -> dict[str, Any]:
    from stepladder.config.compose import expanded
    from stepladder.config.present import as_experiment, presentable
    from stepladder.config.settle import validate
    from stepladder.runs.suggestions import dependent_values

    composition, config = composed(asked)
    validate(config, asked.trust, heavy=asked.keys)
    told: dict[str, Any] = {"config": expanded(presentable(config)), "choices": dict(composition.choices)}
    if asked.prompt is not None:
        from stepladder.config.experiment import Experiment
        from stepladder.runs.prompts import first_prompts

        experiment = Experiment.from_config(config, composition.choices)
        shown = first_prompts(experiment, run_context(asked, config), asked.prompt)
        asked.say("\n".join(shown.lines()))
        return {**told, **shown.as_dict()}
    if not asked.as_json:
        print(as_experiment(asked.overrides, asked.config_dir, comments=dependent_values(composition, config)), end="")
    if asked.keys:
        from stepladder.runs.keys import stored_keys

        told["keys"] = stored_keys(config, composition.choices, asked.outputs, asked.trust)
        for name, key in told["keys"].items():
            asked.say(f"# {name} {key['key']} {'in the store' if key['stored'] else 'not in the store'}")
    return told
