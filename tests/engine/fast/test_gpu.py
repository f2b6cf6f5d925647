"""What only a GPU does gives the results of a CPU."""

from __future__ import annotations

import json
import random

import peft
import pytest
import torch

from stepladder.cli.entry import main
from stepladder.engine.decoding import session as sessions
from stepladder.engine.fast import cuda_graphs
from stepladder.engine.fast import network as networks
from stepladder.engine.fast.network import FastNetwork
from stepladder.models.toy import ToyCheckpoint
from stepladder.resources import Resources
from stepladder.tuning import adapters
from stepladder.tuning.batches import Batch, collate
from stepladder.tuning.fine_tune import FineTune
from stepladder.tuning.training import Training
from stepladder.tuning.tuning import TrainingRow

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
TEXTS = [f"{'some words ' * (n % 5)}and number {n}" for n in range(48)]


def lora():
    return peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)


def rows(model, texts=TEXTS):
    return [TrainingRow(str(n), model.tokenizer(text).input_ids, model.encode_answer("yes" if n % 2 else "no"))
            for n, text in enumerate(texts)]  # fmt: skip


def learnt(model, batch):
    losses = model.answer_losses(*batch)
    return losses.detach(), torch.autograd.grad(losses.sum(), [p for p in model.module.parameters() if p.requires_grad])


def near(ours, theirs, by=0.03):
    return (ours.float() - theirs.float()).norm() <= by * theirs.float().norm() + 1e-6


def test_a_rereplayed_pass_gives_what_a_computed_one_gives(monkeypatch):
    torch.manual_seed(0)
    model = adapters.attach(ToyCheckpoint(dtype="bf16").load("cuda"), lora())
    texts, draw = list(TEXTS), random.Random(0)
    batches = []
    for _ in range(5):
        draw.shuffle(texts)
        batches.append(Batch(*(part.cuda() for part in collate(rows(model, texts[:16])))))
    replayed = [learnt(model, batch) for batch in batches]
    kept = model.engine.network._graphs.graphs
    assert kept
    assert model.engine.network._graphs.replays > 0
    with monkeypatch.context() as patched:
        patched.setattr(cuda_graphs, "WARMUP", 10**9)
        kept.clear()
        computed = [learnt(model, batch) for batch in batches]
    monkeypatch.setattr(FastNetwork, "training_decoder", lambda self: None)
    plain = [learnt(model, batch) for batch in batches]
    for (a, a_gradients), (b, b_gradients), (c, c_gradients) in zip(replayed, computed, plain, strict=True):
        assert near(a, b, 1e-3)
        assert near(a, c)
        assert all(near(x, y) for x, y in zip(a_gradients, b_gradients, strict=True))
        assert all(near(x, y, 0.1) for x, y in zip(a_gradients, c_gradients, strict=True))


def test_gradients_of_a_pass_that_was_rereplayed_again_are_refused():
    model = adapters.attach(ToyCheckpoint(dtype="bf16").load("cuda"), lora())
    batch = Batch(*(part.cuda() for part in collate(rows(model)[:8])))
    for _ in range(cuda_graphs.WARMUP + 1):
        learnt(model, batch)
    first = model.answer_losses(*batch)
    learnt(model, batch)
    with pytest.raises(RuntimeError, match="another pass"):
        first.sum().backward()


@pytest.mark.parametrize("precision", ["bf16", "float32"])
def test_a_fit_learns_what_it_learns_on_a_processor(tmp_path, precision):
    losses = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = ToyCheckpoint(dtype=precision).load(device)
        folder = tmp_path / device
        folder.mkdir()
        how = Training(epochs=4, batch_size=8, learning_rate=3e-3, precision=precision)
        tuned = FineTune(lora, how).tune(model, rows(model), rows(model)[:8], Resources(folder=folder))
        assert next(tuned.module.parameters()).device.type == device
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses[device] = torch.tensor([line["loss"] for line in lines if "loss" in line])
    assert near(losses["cuda"], losses["cpu"], 0.05 if precision == "bf16" else 1e-3)


def test_labels_and_texts_are_those_of_a_processor():
    found = {}
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model = ToyCheckpoint().load(device)
        prompts = [model.tokenizer(text).input_ids for text in TEXTS]
        scores = dict(model.score(prompts, [("yes", "no", "perhaps")] * len(prompts)))
        texts = dict(model.generate(prompts, 12))
        logs = torch.tensor([scores[n].log_probabilities for n in range(len(prompts))])
        found[device] = logs, [texts[n].text for n in range(len(prompts))]
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], atol=1e-3, rtol=1e-4)
    assert found["cuda"][1] == found["cpu"][1]


@pytest.mark.parametrize("copied", [0, sessions.COPIED_ON_GPU], ids=["prefix beside", "prefix copied"])
def test_a_rereplayed_step_gives_what_a_computed_one_gives(monkeypatch, copied):
    monkeypatch.setattr(networks, "SHARED_ON_GPU", 1)
    monkeypatch.setattr(sessions, "COPIED_ON_GPU", copied)
    replayed = []
    run = cuda_graphs._CapturedGraph.run
    monkeypatch.setattr(cuda_graphs._CapturedGraph, "run", lambda self, given: replayed.append(1) or run(self, given))
    torch.manual_seed(0)
    model = ToyCheckpoint().load("cuda")
    prompts = [model.tokenizer(f"some words {text}").input_ids for text in TEXTS]
    texts = dict(model.generate(prompts, 24, micro_batch=7))
    assert len(replayed) > 24
    monkeypatch.setattr(cuda_graphs, "WARMUP", 10**9)
    computed = dict(model.generate(prompts, 24, micro_batch=7))
    monkeypatch.setattr(sessions.DecodingSession, "_replays", False)
    plain = dict(model.generate(prompts, 24, micro_batch=7))
    for n in range(len(prompts)):
        assert texts[n].text == computed[n].text == plain[n].text


def test_a_run_on_a_gpu_says_so(tmp_path, capsys):
    words = ["experiment=first_look", "method=finetune", "compute=one_gpu", "tracking=none"]
    assert main(["run", *words, "--outputs", str(tmp_path)]) == 0, capsys.readouterr().err
    told = [json.loads(file.read_text()) for file in tmp_path.glob("fits/*/done.json")]
    assert told
    assert all("peak_gpu_memory" in json.dumps(one) for one in told)
