"""Model, adapter, dataset and index folders from strangers: no pickle is loaded, no code runs, nothing else is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stepladder.cli.entry import main
from stepladder.dataset.formats import Dialect
from stepladder.dataset.sources import Hub
from stepladder.errors import DataError, ModelError
from stepladder.io.files import HASHES, content_hash
from stepladder.models.checkpoints import FolderCheckpoint
from stepladder.models.toy import ToyCheckpoint
from stepladder.types import Message


class _Mark:
    """What, unpickled, leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = ToyCheckpoint().load()
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    return Path(shutil.copytree(saved, tmp_path / "model"))


def changed(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def hashed_anew(folder: Path) -> None:
    """A stranger who plants a file writes the hash that belongs to it."""
    if (folder / "done.json").exists():
        told = json.loads((folder / "done.json").read_text())["files"]
        changed(folder / "done.json", files={n: content_hash(folder / n) for n in told if (folder / n).exists()})
    if (folder / HASHES).exists():
        changed(folder / HASHES, **{n: content_hash(folder / n) for n in json.loads((folder / HASHES).read_text())})


def test_the_pickle_of_these_tests_does_what_it_is_feared_for(tmp_path: Path) -> None:
    torch.save(_Mark(tmp_path / "done"), tmp_path / "a.bin")
    torch.load(tmp_path / "a.bin", weights_only=bool(0))
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "adapter_model.bin", "training_args.bin"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_pickle_in_a_models_folder_is_not_loaded(name: str, alone: bool, folder: Path, mark: Path) -> None:
    torch.save(_Mark(mark), folder / name)
    if alone:
        (folder / "model.safetensors").unlink()
        with pytest.raises(ModelError, match=r"pickled weights|no weights"):
            FolderCheckpoint(str(folder), dtype="float32").load("cpu")
    else:
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")


def test_a_pickle_named_as_safetensors_is_not_loaded(folder: Path, mark: Path) -> None:
    torch.save(_Mark(mark), folder / "model.safetensors")
    with pytest.raises(ModelError, match="can not be read"):
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")


def test_an_index_that_names_pickles_or_other_folders_is_refused(folder: Path, mark: Path) -> None:
    torch.save(_Mark(mark), folder / "pytorch_model-00001.bin")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model-00001.bin"}}))
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    with pytest.raises(ModelError, match="no safetensors file of the folder"):
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"lm_head.weight": "../elsewhere.safetensors"}}))
    with pytest.raises(ModelError, match="no safetensors file of the folder"):
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")


@pytest.mark.parametrize("known", [True, False])
def test_code_that_comes_with_a_model_is_not_run(known: bool, folder: Path, mark: Path) -> None:
    (folder / "theirs.py").write_text(
        f"import os\nos.mkdir({str(mark)!r})\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
        "from transformers import PreTrainedTokenizerFast as T\n"
    )
    own = {"AutoConfig": "theirs.C", "AutoModelForCausalLM": "theirs.M"}
    changed(folder / "config.json", auto_map=own, **({} if known else {"model_type": "theirs"}))
    changed(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "theirs.T"]})
    if known:
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")
    else:
        with pytest.raises(ModelError, match="never run"):
            FolderCheckpoint(str(folder), dtype="float32").load("cpu")


def test_an_adapter_in_a_models_folder_leads_to_no_other_base(folder: Path, mark: Path) -> None:
    (folder / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": "elsewhere", "peft_type": "LORA"})
    )
    torch.save(_Mark(mark), folder / "adapter_model.bin")
    with pytest.raises(ModelError, match="may name any base"):
        FolderCheckpoint(str(folder), dtype="float32").load("cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja", "vocab.txt"])
def test_a_link_out_of_a_models_folder_is_not_followed(name: str, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if (folder / name).exists():
        (folder / name).rename(outside)
    else:
        outside.write_text("a secret of the user")
    (folder / name).symlink_to(outside)
    with pytest.raises(ModelError, match="out of its directory"):
        FolderCheckpoint(str(folder), dtype="float32").fingerprint()


def test_a_file_that_a_tokenizer_names_elsewhere_is_not_read(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.json").write_text("{}")
    changed(folder / "tokenizer_config.json", tokenizer_file=str(tmp_path / "outside.json"), vocab_file="/etc/hostname")
    chat = FolderCheckpoint(str(folder), dtype="float32").load("cpu").chat
    assert chat.encode([Message("user", "a")]) == ToyCheckpoint().load("cpu").chat.encode([Message("user", "a")])


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.mkdir('MARK') }}",
        "{% for m in messages %}{{ m.update({'role': 'x'}) }}{% endfor %}",
        "{% include '/etc/hostname' %}",
        "{{ raise_exception('no') }}",
        "{{ range(1000000000)|list }}",
        "{% broken",
    ],
)
def test_a_chat_template_stays_in_its_sandbox(template: str, folder: Path, mark: Path) -> None:
    (folder / "chat_template.jinja").write_text(template.replace("MARK", str(mark)))
    with pytest.raises(ModelError, match="chat template"):
        FolderCheckpoint(str(folder), dtype="float32").load("cpu").encode([Message("user", "a")])


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a fine-tuned run of the toy."""
    root = tmp_path_factory.mktemp("tuned")
    words = ["run", "experiment=first_look", "method=finetune", "tracking=none", "--outputs", str(root)]
    assert main(words) == 0
    return root


def predicted(capsys: pytest.CaptureFixture[str], root: Path) -> tuple[int, str, str]:
    (fit,) = (root / "fits").iterdir()
    (root.parent / "new.csv").write_text("text\nwhat is this\n")
    capsys.readouterr()
    code = main(["predict", str(fit), str(root.parent / "new.csv"), "--outputs", str(root.parent / "outputs")])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out, told.err


@pytest.mark.parametrize("alone", [True, False])
def test_a_pickle_in_an_adapters_folder_is_not_loaded(
    alone: bool, tuned: Path, tmp_path: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(tuned, tmp_path / "store"))
    (artefact,) = root.glob("fits/*/artefact")
    torch.save(_Mark(mark), artefact / "adapter_model.bin")
    if alone:
        (artefact / "adapter_model.safetensors").unlink()
    hashed_anew(artefact.parent)
    code, _, err = predicted(capsys, root)
    assert code == (2 if alone else 0), err
    assert "no weights in safetensors" in err or not alone


def test_an_adapters_own_config_is_not_asked(
    tuned: Path, tmp_path: Path, mark: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may name another kind, other files, and modules to import; the experiment says what the adapter is."""
    root = Path(shutil.copytree(tuned, tmp_path / "store"))
    (config,) = root.glob("fits/*/artefact/adapter_config.json")
    _, before, _ = predicted(capsys, root)
    changed(
        config, peft_type="PROMPT_TUNING", prompt_tuning_init="TEXT", tokenizer_name_or_path=str(mark), r=1,
        tokenizer_kwargs={"trust_remote_code": True}, base_model_name_or_path=str(mark),
        megatron_config={"a": 1}, megatron_core="antigravity",
    )  # fmt: skip
    hashed_anew(config.parents[1])
    code, after, err = predicted(capsys, root)
    assert code == 0, err

    def answer(text: str) -> dict[str, object]:
        return {**json.loads(text), "seconds": 0}

    assert answer(after) == answer(before)


@pytest.mark.parametrize(
    "override",
    [
        "+adapter.megatron_config={a:1} +adapter.megatron_core=antigravity",
        "adapter.prompt_tuning_init=TEXT +adapter.prompt_tuning_init_text=a +adapter.tokenizer_name_or_path=a "
        "+adapter.tokenizer_kwargs={trust_remote_code:true}",
    ],
)
def test_an_adapter_that_would_import_or_run_is_refused(
    override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = "adapter=prompt_tuning" if "tokenizer" in override else "adapter=lora"
    words = ["run", "experiment=first_look", "method=finetune", adapter, *override.split(" "), "tracking=none"]
    assert main([*words, "--outputs", str(tmp_path)]) == 2
    assert "may import or run" in capsys.readouterr().err


def test_a_pickle_among_indexes_is_not_loaded(tmp_path: Path, mark: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs"
    words = ["run", "experiment=first_look", "method=rag", "tracking=none", "--outputs", str(outputs)]
    assert main(words) == 0

    def plant() -> None:
        for file in outputs.glob("indexes/**/*.npy"):
            np.save(file, np.array([_Mark(mark)], dtype=object), allow_pickle=True)
        shutil.rmtree(outputs / "predictions")
        shutil.rmtree(outputs / "scores")

    plant()
    for folder in {file.parent for file in outputs.glob("indexes/**/*.npy")}:
        hashed_anew(folder)
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr().err
    assert "A cached directory is broken" in told
    assert "delete it; it is made again" in told
    shutil.rmtree(outputs / "indexes")
    assert main(words) == 0
    plant()  # and as one who forgets the hashes
    assert main(words) == 0


def test_a_checkpoint_that_is_a_pickle_is_told_and_not_used(tuned: Path, tmp_path: Path, mark: Path) -> None:
    root = Path(shutil.copytree(tuned, tmp_path / "store"))
    (fit,) = (root / "fits").iterdir()
    (fit / "done.json").unlink()
    (fit / "checkpoints").mkdir(exist_ok=True)
    for name in (f"step-000000002-{'0' * 64}.safetensors", "step-000000003.pt", "last.ckpt"):
        torch.save(_Mark(mark), fit / "checkpoints" / name)
    words = ["run", "experiment=first_look", "method=finetune", "tracking=none", "--outputs", str(root)]
    assert main(words) == 0


@pytest.mark.parametrize("card", ["data_files: /etc/hostname", "data_files: '../outside.csv'"])
def test_a_datasets_card_names_no_file_elsewhere(card: str, tmp_path: Path) -> None:
    (tmp_path / "outside.csv").write_text("a,b\nsecret,1\n")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "train.csv").write_text("a,b\n1,2\n")
    (theirs / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {card}\n---\n")
    with pytest.raises(DataError):
        Hub(str(theirs)).table("train", Dialect())


def test_a_datasets_script_is_not_run_and_its_links_lead_nowhere(tmp_path: Path, mark: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "theirs.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    with pytest.raises(DataError):
        Hub(str(theirs)).table("train", Dialect())
    (theirs / "theirs.py").unlink()
    (tmp_path / "outside.csv").write_text("a,b\nsecret,1\n")
    (theirs / "train.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(DataError, match="outside the repository"):
        Hub(str(theirs)).table("train", Dialect())
