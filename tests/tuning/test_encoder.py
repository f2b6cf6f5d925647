"""Fine-tuning of a sentence encoder: what is kept, what stops it, and what it depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.tuning.encoder import EncoderClassifier, LabelledText, train_encoder
from stepladder.tuning.training import Training

TEXTS = [LabelledText(f"{word} number {n}", word) for n in range(6) for word in ("buy", "sell", "rent")]
TRAINING = Training(epochs=3, batch_size=4, learning_rate=1e-2, schedule="linear", precision="float32", patience=None)


def trained(training=TRAINING, validation=TEXTS[:6], seed=0, resources=None) -> EncoderClassifier:
    network = EncoderClassifier(ToyEmbedder(32).network("cpu"), ("buy", "sell", "rent"))
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    train_encoder(network, TEXTS, validation, training, resources or Resources(), seed)
    return network


def test_all_weights_are_trained_and_the_labels_learnt() -> None:
    network = trained(replace(TRAINING, epochs=15))
    assert not torch.equal(network.encoder.weight, torch.eye(32))
    found = [max(shares, key=shares.__getitem__) for shares in network.shares([each.text for each in TEXTS])]
    assert found == [each.label for each in TEXTS]


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    one, same, other = (trained(seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_the_weights_with_the_lowest_validation_loss_are_kept(tmp_path: Path) -> None:
    wrong = [replace(each, label="buy") for each in TEXTS if each.label != "buy"]
    resources = Resources(folder=tmp_path)
    network = trained(replace(TRAINING, epochs=9, patience=2), wrong, resources=resources)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
    best = min(losses, key=losses.__getitem__)
    assert resources.report.figures["best_step"] == best
    assert max(losses) == best + 2 * 5  # two epochs of five steps after the best one
    labels = torch.tensor([0] * len(wrong))
    ids = network.network.token_ids([each.text for each in wrong])
    assert float(torch.nn.functional.cross_entropy(network.logits(ids), labels)) == pytest.approx(losses[best])


def test_an_observer_stops_it_and_no_validation_row_keeps_the_last_weights() -> None:
    seen: list[int] = []
    resources = Resources(on_validation=lambda step, values: bool(seen.append(step)) or True)
    trained(resources=resources)
    assert seen == [5]
    resources = Resources()
    trained(validation=(), resources=resources)
    assert resources.report.figures["steps"] == 15
    assert "best_step" not in resources.report.figures


def test_a_batch_changes_no_answer() -> None:
    network = trained()
    texts = [each.text * (1 + number % 3) for number, each in enumerate(TEXTS)]
    together = list(network.shares(texts))
    for text, shares in zip(texts, together, strict=True):
        assert next(iter(network.shares([text]))) == pytest.approx(shares, abs=1e-5)
