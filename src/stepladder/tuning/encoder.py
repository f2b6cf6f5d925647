"""Fine-tunes a sentence encoder with a classification head: a LightningModule, its best weights and its artefact."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningModule
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from stepladder.resources import Resources
from stepladder.tuning.callbacks import CurveLogger
from stepladder.tuning.curves import Curves
from stepladder.tuning.randomness import own_randomness
from stepladder.tuning.trainer import interruptible, quiet, trainer
from stepladder.tuning.training import Training

AT_ONCE = 64
"""Number of texts in one pass without gradients."""

WEIGHTS, LABELS = "encoder.safetensors", "labels.json"


class TextNetwork(Protocol):
    """The network of an embedder."""

    module: nn.Module

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, at least one and at most as many as the network takes."""
        ...

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors (batch, width) of padded token ids (batch, length); `mask` is 1 at real tokens."""
        ...


@dataclass(frozen=True)
class LabelledText:
    """A text and its label."""

    text: str
    label: str


@dataclass(frozen=True)
class _Row:
    ids: Sequence[int]
    label: int


class EncoderClassifier(nn.Module):
    """A network, and a linear head that gives logits of `labels` from its unit vectors."""

    def __init__(self, network: TextNetwork, labels: Sequence[str]) -> None:
        super().__init__()
        self.network, self.labels, self.encoder = network, tuple(labels), network.module
        width = _width(network)
        with torch.random.fork_rng(devices=[]):
            self.head = nn.Linear(width, len(self.labels)).to(self.device)

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device

    def start_head(self, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        """Start the head from weights (labels, width) and biases (labels,)."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits (batch, labels), float32, of rows of token ids."""
        longest = max(map(len, ids))
        padded = torch.zeros((len(ids), longest), dtype=torch.long)
        mask = torch.zeros((len(ids), longest), dtype=torch.long)
        for row, own in enumerate(ids):
            padded[row, : len(own)], mask[row, : len(own)] = torch.tensor(own), 1
        logits: Tensor = self.head(self.network.vectors(padded.to(self.device), mask.to(self.device)))
        return logits

    @torch.no_grad()
    def logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits (rows, labels) on the CPU, without dropout, computed longest row first."""
        training = self.training
        self.eval()
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        found = torch.zeros((len(ids), len(self.labels)))
        for start in range(0, len(order), AT_ONCE):
            rows = order[start : start + AT_ONCE]
            found[rows] = self([ids[row] for row in rows]).float().cpu()
        self.train(training)
        return found

    def shares(self, texts: Sequence[str]) -> Iterator[dict[str, float]]:
        """The probability of every label, for each text."""
        for row in self.logits(self.network.token_ids(texts)).double().softmax(-1).tolist():
            yield dict(zip(self.labels, row, strict=True))

    def save(self, folder: Path) -> None:
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / WEIGHTS)
        (folder / LABELS).write_text(json.dumps(self.labels), encoding="utf-8")

    @staticmethod
    def is_saved(folder: Path) -> bool:
        return (folder / WEIGHTS).exists()

    @classmethod
    def load(cls, folder: Path, network: TextNetwork) -> EncoderClassifier:
        """Raises ValueError if the files are not what `save` wrote for this network."""
        made = cls(network, json.loads((folder / LABELS).read_text(encoding="utf-8")))
        try:
            made.load_state_dict(load_file(folder / WEIGHTS))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{WEIGHTS} does not hold the weights of this encoder: {error}") from error
        return made.eval()


class EncoderTuning(LightningModule):  # type: ignore[misc]
    """Trains all weights on the cross-entropy of the labels; keeps those with the lowest validation loss.

    The weights before the first step count as a candidate. A Lightning batch is one optimiser step.
    """

    def __init__(
        self,
        network: EncoderClassifier,
        rows: Sequence[_Row],
        validation: Sequence[_Row],
        training: Training,
        curves: Curves,
        resources: Resources,
        seed: int,
    ) -> None:
        super().__init__()
        self.network, self.rows, self.validation = network, rows, validation
        self.training_config, self.curves, self.resources, self.seed = training, curves, resources, seed
        self.total, self.step = training.steps(len(rows)), 0
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.best_step, self.worse, self.interrupted = math.inf, 0, 0, False
        self.began = time.perf_counter()

    def configure_optimizers(self) -> dict[str, Any]:
        peak = self.training_config.learning_rate
        assert peak is not None
        optimizer: Optimizer = AdamW(self.network.parameters(), lr=peak, weight_decay=self.training_config.weight_decay)

        def share(step: int) -> float:
            return self.training_config.rate(min(step + 1, self.total), self.total, 1.0)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def train_dataloader(self) -> EpochBatches:
        return EpochBatches(self.rows, self.training_config.batch_size, self.seed)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Rows are token ids; the network makes its tensors."""
        return batch

    def on_train_start(self) -> None:
        self._validate()

    def training_step(self, batch: Sequence[_Row], _: int) -> Tensor:
        if self.interrupted:
            raise KeyboardInterrupt
        logits = self.network([row.ids for row in batch])
        labels = torch.tensor([row.label for row in batch], device=logits.device)
        return nn.functional.cross_entropy(logits, labels)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.step += 1
        now = time.perf_counter()
        rate = self.training_config.rate(self.step, self.total, self.training_config.learning_rate or 0.0)
        self.curves.step(self.step, float(outputs["loss"]), 0, now - self.began, rate)
        self.began = now

    def on_train_epoch_end(self) -> None:
        if self._validate():
            self.trainer.should_stop = True

    def _validate(self) -> bool:
        """Measure the validation loss, keep better weights, and say whether to stop."""
        if not self.validation:
            return False
        began = time.perf_counter()
        labels = torch.tensor([row.label for row in self.validation])
        loss = float(nn.functional.cross_entropy(self.network.logits([row.ids for row in self.validation]), labels))
        self.curves.validation(self.step, {"validation_loss": loss}, time.perf_counter() - began)
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.worse = loss, self.step, 0
            self.best = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        else:
            self.worse += 1
        self.began = time.perf_counter()
        patience = self.training_config.patience
        observer = self.resources.on_validation
        stop = observer is not None and self.step > 0 and observer(self.step, {"validation_loss": loss})
        return bool(stop) or (patience is not None and self.worse >= patience)

    def restore_best(self) -> None:
        """The best weights; without validation rows, the last ones."""
        if self.best:
            self.network.load_state_dict(self.best)


class EpochBatches:
    """Lightning's training data: the rows of each epoch in an order that depends on the seed and the epoch."""

    def __init__(self, rows: Sequence[_Row], batch_size: int, seed: int) -> None:
        self.rows, self.batch_size, self.seed, self.epoch = rows, batch_size, seed, 0

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[list[_Row]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.rows))
        self.epoch += 1
        for start in range(0, len(order), self.batch_size):
            yield [self.rows[place] for place in order[start : start + self.batch_size]]


def train_encoder(
    network: EncoderClassifier,
    rows: Sequence[LabelledText],
    validation: Sequence[LabelledText],
    training: Training,
    resources: Resources,
    seed: int,
) -> None:
    """Train all weights of `network` in place.

    Args:
        network: The encoder with its head, on the device of the training.
        rows: The training rows. Labels must be labels of `network`.
        validation: Chooses the weights; without rows, training does not stop early and the last weights are kept.
        training: Epochs, batch size, learning rate, schedule, weight decay, gradient norm and patience.
        resources: Where curves go; `on_validation` may stop the training.
        seed: Of the order of the rows and of dropout.
    """
    curves = Curves(resources)
    own, held = (_rows(network, texts) for texts in (rows, validation))
    module = EncoderTuning(network, own, held, training, curves, resources, seed)
    device = network.device
    network.train()
    with own_randomness(device, seed), quiet(), interruptible(module):
        made = trainer(device, resources.devices.alone, training, None, [], CurveLogger(curves))
        made.gradient_clip_val = training.max_grad_norm
        made.fit(module)
    module.restore_best()
    network.to(device).eval()
    figures = {"best_step": module.best_step, "best_validation_loss": module.best_loss} if module.best else {}
    resources.report.record(figures)


def _rows(network: EncoderClassifier, texts: Sequence[LabelledText]) -> list[_Row]:
    ids = network.network.token_ids([each.text for each in texts])
    return [_Row(own, network.labels.index(each.label)) for own, each in zip(ids, texts, strict=True)]


def _width(network: TextNetwork) -> int:
    with torch.no_grad():
        one = torch.tensor(network.token_ids(["a"]), device=next(network.module.parameters()).device)
        return int(network.vectors(one, torch.ones_like(one)).shape[1])
