"""The model card that is stored next to the weights of a fit: README.md, as model hubs and PEFT expect it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stepladder.config.experiment import Experiment
from stepladder.dataset.dataset import Loaded
from stepladder.io.files import read_json, write_text
from stepladder.io.redaction import mask
from stepladder.types import Plain

CARD = "README.md"

_MEASURED = {
    "trained_parameters": "trained parameters",
    "steps": "optimiser steps",
    "training_tokens": "training tokens",
    "learning_rate": "peak learning rate",
    "best_validation_loss": "best validation loss (nats per token)",
    "best_step": "at step",
    "weights_changed": "weights changed by training",
    "weights_kept": "of these different from the base after rounding",
}

_USE = {
    "peft": """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}")  # or the directory of the base model
model = PeftModel.from_pretrained(base, "{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")""",
    "transformers": """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")""",
}


def write_card(artefact: Path, experiment: Experiment, data: Loaded, facts: Plain) -> None:
    """Write the card of a tuned model into its directory.

    Args:
        artefact: The directory with the weights and `base_model.json`.
        experiment, data: What the fit was made from, and the rows that it was trained on.
        facts: What training measured: steps, trained parameters, the best validation loss.
    """
    base = read_json(artefact / "base_model.json") or {}
    name = str(base.get("name", "unknown"))
    fingerprint = base.get("fingerprint", {})
    library = "peft" if (artefact / "adapter_config.json").exists() else "transformers"
    head: dict[str, Any] = {"library_name": library, "pipeline_tag": "text-generation", "tags": ["stepladder"]}
    if "hub" in fingerprint:  # a hub resolves this key to a repository
        head["base_model"] = name
    choices = experiment.choices
    adapter, method = choices.get("adapter") or "own", choices.get("method") or "finetune"
    sections = {
        "Base model": f"`{name}`. The weights fit the base model with this fingerprint and no other:\n\n"
        + _block("json", json.dumps(fingerprint, indent=1, ensure_ascii=False)),
        "Data": f"{len(data.train):,} training rows and {len(data.validation):,} validation rows. Answers are of the "
        f"kind `{data.task.kind}`. The settings of the dataset:\n\n"
        + _block("yaml", _yaml(_without_folders(mask(experiment.dataset)))),
        "Method and settings": f"Method `{method}`, adapter `{adapter}`, seed {experiment.seed}.\n\n"
        + _block("yaml", _yaml(_without_folders(mask(experiment.method.get("tuning", {}))))),
        "Training": "\n".join(
            f"- {what}: {facts[key]}" for key, what in _MEASURED.items() if facts.get(key) is not None
        ),
        "Scores": "This card was written when training ended, before any test question was asked. The scores are in "
        "the `scores/` directory of the store that the fit belongs to, and in the reports of its studies.",
        "Use": _block("python", _USE[library].format(base=name, folder="DIRECTORY"))
        + "\n\nQuestions must be rendered by the chat template that is stored here, as they were in training; "
        "`stepladder predict` does that. The licences of the base model and of the data apply.",
    }
    title = f"# {name}, fine-tuned on {choices.get('dataset') or 'a dataset'}"
    task = f"Trained with Stepladder. The task: {mask(data.task.instruction) or 'answer the question'}"
    body = "\n\n".join([title, task, *(f"## {about}\n\n{text}" for about, text in sections.items())])
    front = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    write_text(artefact / CARD, f"---\n{front}---\n\n{body}\n")


def _block(language: str, text: str) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _yaml(value: Any) -> str:
    plain = json.loads(json.dumps(value, ensure_ascii=False))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def _without_folders(value: Any) -> Any:
    """Plain data without keys that say nothing, and with the name of a file in place of its absolute path."""
    if isinstance(value, Mapping):
        kept = {name: _without_folders(each) for name, each in value.items() if each is not None and each != []}
        return {name: each for name, each in kept.items() if each != {}}
    if isinstance(value, list | tuple):
        return [_without_folders(each) for each in value]
    if isinstance(value, str) and (value.startswith("~") or Path(value).is_absolute()) and len(value) > 1:
        return Path(value).name
    return value
