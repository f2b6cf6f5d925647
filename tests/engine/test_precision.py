"""What is kept in bf16 has the same values wherever it is computed; in what it is computed is the device's affair."""

from __future__ import annotations

import pytest
import torch

from stepladder.engine import precision
from stepladder.engine.precision import computed
from stepladder.models.checkpoints import FolderCheckpoint
from stepladder.models.toy import ToyCheckpoint
from stepladder.resources import Devices
from stepladder.tuning.trainer import trainer
from stepladder.tuning.training import Training


@pytest.fixture
def without(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda kind: False)
    precision._note.cache_clear()


@pytest.fixture
def having(monkeypatch):
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)


@pytest.fixture
def folder(tmp_path):
    model = ToyCheckpoint().load("cpu")
    model.module.save_pretrained(str(tmp_path))
    model.tokenizer.save_pretrained(str(tmp_path))
    return FolderCheckpoint(str(tmp_path))


def test_without_bf16_products_bf16_weights_are_computed_in_float32(folder, without, capsys):
    wanted = {name: weight.bfloat16() for name, weight in ToyCheckpoint().load("cpu").module.state_dict().items()}
    found = folder.load("cpu").module.state_dict()
    assert all(weight.dtype == torch.float32 for weight in found.values())
    assert all(torch.equal(weight, wanted[name].float()) for name, weight in found.items())
    folder.load("cpu")
    assert capsys.readouterr().err.count("no bf16 matrix products") == 1


def test_without_bf16_products_training_in_bf16_is_in_float32(without):
    assert _precision(Training(precision="bf16")) == "32-true"


def test_with_bf16_products_bf16_is_bf16(having):
    assert computed("bf16", "cpu") == torch.bfloat16
    assert computed("float32", "cpu") == torch.float32
    assert _precision(Training(precision="bf16")) == "bf16-mixed"
    assert _precision(Training(precision="float32")) == "32-true"


def test_the_id_of_a_model_does_not_depend_on_the_machine(folder, without, monkeypatch):
    before = folder.fingerprint()
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)
    assert folder.fingerprint() == before


def _precision(training):
    return trainer(torch.device("cpu"), Devices(), training, None, [], False).precision
