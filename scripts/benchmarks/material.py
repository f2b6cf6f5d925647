"""The data for the measurements: Banking77's rows as token ids of the embedded model."""

from __future__ import annotations

import csv
import os
import random
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SYSTEM = "Name the intent of the customer message."

Spec = dict[str, Any]


class Material:
    """Banking77's rows, as token ids of the embedded model."""

    def __init__(self) -> None:
        import torch
        import yaml

        from stepladder.engine.fast import kernels
        from stepladder.engine.precision import has_bf16
        from stepladder.models.checkpoints import PackageCheckpoint
        from stepladder.types import Message

        data = Path(os.environ.get("STEPLADDER_DATA", "?")) / "banking77"
        if not data.is_dir():
            sys.exit("scripts/bench reads Banking77 from $STEPLADDER_DATA/banking77: name that folder")
        node = yaml.safe_load((ROOT / "conf" / "model" / "smollm2_135m.yaml").read_text())
        checkpoint = PackageCheckpoint(**{key: value for key, value in node.items() if key != "_target_"})
        self.folder, self.model, self.message = str(checkpoint.folder()), checkpoint.load("cpu"), Message
        # Without bf16 products bf16 is not measured: the other libraries would take a hundred times as long.
        # On a GPU float32 is not measured, because nobody uses it there.
        self.on_gpu = torch.cuda.is_available()
        kind = "-gpu" if self.on_gpu else "-amx" if kernels.tiled(torch.bfloat16) else ""
        self.page = f"benchmarks{kind}.md"  # one page for each kind of machine
        self.turns = 1 if self.on_gpu else None  # a GPU is not shared: one turn is enough
        self.precisions = ("bf16",) if self.on_gpu else ("bf16", "float32") if has_bf16("cpu") else ("float32",)
        self.train, self.test = (self._texts(data / f"{part}.csv") for part in ("train", "test"))
        self.labels = sorted({label for _, label in self.train})
        self.spec = {"model": self.folder, "precision": self.precisions[0]}
        self.end = self.model.encode_answer("")[-1]

    def _texts(self, file: Path) -> list[tuple[str, str]]:
        with file.open(encoding="utf-8") as lines:
            rows = [(row["text"], row["category"].replace("_", " ")) for row in csv.DictReader(lines)]
        random.Random(0).shuffle(rows)
        return rows

    def prompt(self, text: str, system: str = SYSTEM) -> list[int]:
        ids: list[int] = self.model.encode([self.message("system", system), self.message("user", text)])
        return ids

    def shaped(self, folder: Path, **shape: int) -> Spec:
        """Save a randomly initialised model with another `shape` in `folder` and return a spec for it."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from stepladder.engine.logs import quiet

        config = AutoConfig.from_pretrained(self.folder, **shape)
        with quiet(), torch.device("cuda" if self.on_gpu else "cpu"):
            AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
        self.model.tokenizer.save_pretrained(folder)
        return {**self.spec, "model": str(folder)}

    def training(self, count: int) -> list[Spec]:
        """Rows of 40 to 128 tokens."""
        rows = []
        for text, label in self.train:
            row = {"prompt": self.prompt(text), "answer": self.model.encode_answer(label)}
            if 40 <= len(row["prompt"]) + len(row["answer"]) <= 128:
                rows.append(row)
            if len(rows) == count:
                return rows
        raise ValueError(f"only {len(rows)} rows of 40 to 128 tokens")

    def listed(self) -> str:
        return f"{SYSTEM} It is one of: {'; '.join(self.labels)}."
