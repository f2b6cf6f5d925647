"""The toy model, its rows and settings that the tests of tuning share."""

import importlib
import json
from pathlib import Path

import peft
import torch
import yaml

from stepladder.models.toy import ToyCheckpoint
from stepladder.tuning.batches import collate
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow
from stepladder.types import Message

CONF = Path(__file__).parents[1] / "conf"
QUICK = Training(epochs=6, batch_size=8, precision="float32", learning_rate=1e-2, patience=None)
LORA = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear")


def toy(dtype="float32", **arguments):
    """In bf16 as transformers loads a model: weights in bf16, what is computed (rotary frequencies) in float32."""
    model = ToyCheckpoint(**arguments).load()
    for parameter in model.module.parameters():
        parameter.data = parameter.data.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
    return model


def rows(model, count=24):
    answers = ("red", "green and blue", "no")
    return [
        TrainingRow(
            str(i), model.encode([Message("user", f"{'x' * (i % 9)} {i % 3}?")]), model.encode_answer(answers[i % 3])
        )
        for i in range(count)
    ]


def losses(model):
    with torch.no_grad():
        return model.answer_losses(*collate(rows(model)))


def shipped(name):
    node = yaml.safe_load((CONF / "adapter" / f"{name}.yaml").read_text())
    module, _, cls = node.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), cls)(**node)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
