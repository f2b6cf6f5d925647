"""Small cases of training: what a fit stores, where its base model is, and what its files may say."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from stepladder.models.toy import ToyCheckpoint

TRAIN = ["tracking=none", "dataset=file", "dataset.train=rows.csv", "dataset.input=text", "dataset.target=label"]
TRAIN += ["method=finetune", "training=smoke", "adapter=lora", "dataset.split={test: 0.3, validation: 0.1}"]


def write_rows(folder: Path, count: int = 16) -> None:
    lines = [f"{'plain' if i % 2 else 'odd'} text {i},{'yes' if i % 2 else 'no'}" for i in range(count)]
    (folder / "rows.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    (folder / "new.csv").write_text("text\nplain text 1\nodd text 40\n")


def write_model(folder: Path, seed: int = 0) -> Path:
    model = ToyCheckpoint(seed=seed, hidden=16, layers=1, heads=2, window=512).load()
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder


def fit_folder(result) -> Path:
    assert result.code == 0, result.err
    return Path(result.json["folders"]["fit"])


@pytest.mark.parametrize("adapter", ["lora", "full", "prefix_tuning"])
def test_an_artefact_opens_anywhere_and_describes_itself(stepladder, here, adapter, monkeypatch, tmp_path):
    """Tokenizer, model card and base name: nothing is missing, nothing is a path of this machine."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_rows(here)
    model = write_model(here / "models" / "tiny")
    words = [*TRAIN, f"adapter={adapter}", "model=folder", f"model.path={model}", "model.dtype=float32"]
    result = stepladder("run", *words, "--json")
    fit = fit_folder(result)
    artefact = fit / "artefact"

    card = (artefact / "README.md").read_text()
    assert "More Information Needed" not in card
    for told in ("tiny", "file", f"`{adapter}`", "epochs: 1", "steps: ", "before any test question", "training rows"):
        assert told in card
    assert "base_model" not in card.split("---")[1]  # a name that a model hub would look for
    assert all(str(here) not in file.read_text(errors="ignore") for file in artefact.iterdir())
    told = json.loads((artefact / "base_model.json").read_text())
    assert told["name"] == "tiny"
    assert "model.safetensors" in told["fingerprint"]["files"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in fit.rglob("*") if file.is_file()} == {0o644}

    tokenizer = AutoTokenizer.from_pretrained(artefact)
    assert tokenizer("a b").input_ids == AutoTokenizer.from_pretrained(model)("a b").input_ids
    assert tokenizer.chat_template
    if adapter == "full":
        AutoModelForCausalLM.from_pretrained(artefact)
    else:
        from peft import PeftModel

        assert json.loads((artefact / "adapter_config.json").read_text())["base_model_name_or_path"] == "tiny"
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), artefact)

    # The base model is somewhere else now, and so is the reader.
    first = stepladder("predict", str(fit), str(here / "new.csv"), "--json").json["predictions"]
    elsewhere = tmp_path / "elsewhere"
    shutil.move(model, elsewhere)
    (tmp_path / "desk").mkdir()
    monkeypatch.chdir(tmp_path / "desk")
    lost = stepladder("predict", str(fit), str(here / "new.csv"))
    assert lost.code == 2
    assert "model.path=DIR" in lost.err
    found = stepladder("predict", str(fit), str(here / "new.csv"), f"model.path={elsewhere}", "--json")
    assert found.code == 0, found.err
    for one, other in zip(found.json["predictions"], first, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
    write_model(tmp_path / "another", seed=1)
    wrong = stepladder("predict", str(fit), str(here / "new.csv"), f"model.path={tmp_path / 'another'}")
    assert wrong.code == 2
    assert "model.safetensors" in wrong.err


@pytest.mark.parametrize("word", ["model.paht=x", "model.name=x"])
def test_a_key_that_the_base_model_has_not_is_named(stepladder, here, word):
    write_rows(here)
    fit = fit_folder(stepladder("run", *TRAIN, "method=zero_shot", "model=toy", "--json"))
    wrong = stepladder("predict", str(fit), "new.csv", word)
    assert wrong.code == 2
    assert word.split("=")[0] in wrong.err


@pytest.mark.parametrize("start", ["pissa_niter_4", "olora"])
def test_predict_gives_what_the_fit_gave(stepladder, here, start):
    """Randomised starts in the base weights: a new process must not draw them again."""
    write_rows(here)
    words = [*TRAIN, "model=toy", f"+adapter.init_lora_weights={start}", "adapter.r=4", "training.learning_rate=0.01"]
    result = stepladder("run", *words, "--json")
    fit = fit_folder(result)
    lines = (Path(result.json["folders"]["predict"]) / "predictions.jsonl").read_text().splitlines()
    stored = {row["id"]: row["probabilities"] for row in map(json.loads, lines)}
    rows = stepladder("predict", str(fit), "rows.csv", "--json").json["predictions"]
    again = {row["id"]: row["probabilities"] for row in rows if row["id"] in stored}
    assert again == stored
    assert json.loads((fit / "artefact/adapter_config.json").read_text())["init_lora_weights"] is True


@pytest.mark.parametrize("start", ["eva", "corda", "lora_ga"])
def test_a_start_that_needs_data_is_an_error_of_the_user(stepladder, here, start):
    write_rows(here)
    for verb in ("run", "check"):
        result = stepladder(verb, *TRAIN, "model=toy", f"+adapter.init_lora_weights={start}")
        assert result.code == 2
        assert start in result.err
    assert not list((here / "outputs" / "fits").glob("*/artefact"))


WRITTEN = ("<think>let me see</think>yes", "<think>\n\n</think>\n\nno", "yes", "<think>it is", "no <think>or", "maybe")


@pytest.mark.parametrize(
    ("words", "right"),
    [
        ((), 3),
        (("decoding.strip_thinking=true",), 3),
        (("decoding.strip_thinking=false",), 1),
    ],
)
def test_thoughts_are_removed_from_written_answers_and_counted(stepladder, here, words, right, monkeypatch):
    from stepladder.models.language_model import Completion
    from stepladder.models.local import CausalModel

    write_rows(here, 6)
    model = ToyCheckpoint(hidden=16, layers=1, heads=2, window=512).load()
    if not words:
        model.tokenizer.chat_template += "{# <think></think> #}"
    model.module.save_pretrained(here / "tiny")
    model.tokenizer.save_pretrained(here / "tiny")

    def generate(self, prompts, *_, **__):
        for index in range(len(prompts)):
            text = WRITTEN[index % len(WRITTEN)]
            yield index, Completion(text, 9, 0.0, text != "<think>it is")

    monkeypatch.setattr(CausalModel, "generate", generate)
    (here / "all.csv").write_text(
        "text,label\n" + "".join(f"t {i},{a}\n" for i, a in enumerate(["yes", "no", "yes", "no", "no", "yes"]))
    )
    data = ["dataset.train=rows.csv", "dataset.test=all.csv", "model=folder", "model.path=tiny", "decoding=greedy"]
    result = stepladder(
        "run", *TRAIN, *data, "dataset.split={test: 0, validation: 0}", "method=zero_shot", *words, "--json"
    )
    assert result.code == 0, result.err
    lines = (Path(result.json["folders"]["predict"]) / "predictions.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["failure"] is None for row in rows].count(True) == right
    if right == 3:
        assert [row["text"] for row in rows[:3]] == ["yes", "no", "yes"]
        assert "thought was not finished within 9 tokens" in rows[3]["failure"]
        assert rows[3]["text"] == "<think>it is"
        assert "thoughts are removed from 4 of 6 answers" in result.err
        assert "2 of 6 answers end inside a thought" in result.err
        assert result.json["costs"]["thoughts_removed"] == 4
        assert result.json["costs"]["thoughts_unfinished"] == 2


def test_reproduce_sees_a_stored_fit_that_is_not_the_trained_one(stepladder, here, monkeypatch):
    """Storing as PEFT does: a start that is drawn again when the adapter is loaded."""
    from stepladder.tuning import adapters, low_rank_starts

    write_rows(here)
    words = [
        *TRAIN,
        "model=toy",
        "+adapter.init_lora_weights=pissa_niter_4",
        "adapter.r=4",
        "training.learning_rate=0.01",
    ]
    good = stepladder("run", *words, "--json").json["folders"]["score"]
    assert stepladder("reproduce", good, "--verify").code == 0
    monkeypatch.setattr(adapters, "in_stored_form", lambda base, tuned, adapter: tuned)
    monkeypatch.setattr(adapters, "check_stored", lambda *_: None)
    monkeypatch.setattr(low_rank_starts, "stored_config", lambda config: config)
    bad = stepladder("run", *words, "--json", "--outputs", "other").json["folders"]["score"]
    result = stepladder("reproduce", bad, "--verify", "--outputs", "again")
    assert result.code == 3
    assert "predictions" in result.out + result.err


@pytest.mark.parametrize(
    "word", ["training.neftune_noise_alpha=5", "training.lora_plus_ratio=8", "decoding.strip_thinking=true"]
)
def test_new_options_are_a_part_of_the_keys(stepladder, here, word):
    write_rows(here)
    words = ["model=toy", "decoding=greedy"]
    plain = stepladder("show", *TRAIN, *words, "--keys", "--json").json
    other = stepladder("show", *TRAIN, *words, word, "--keys", "--json").json
    assert plain != other
