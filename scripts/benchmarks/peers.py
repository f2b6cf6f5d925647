"""Runs one measurement of another library, in its own environment: peers.py TASK SPEC.json prints a line of JSON.

Does not import Stepladder. Each library is used as its documentation says, on the same token ids.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

Spec = dict[str, Any]
DTYPES = {"bf16": torch.bfloat16, "float32": torch.float32}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def peak_gib() -> float:
    """Peak memory of the GPU if there is one, otherwise of the process, in GiB."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def load(spec: Spec) -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=DTYPES[spec["precision"]]).eval()
    return model.to(DEVICE), AutoTokenizer.from_pretrained(spec["model"])


class Timed(TrainerCallback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.begun)


def trl(spec: Spec) -> Spec:
    """TRL's SFTTrainer with its own defaults, on completions only."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load(spec)
    rows = [
        {"input_ids": r["prompt"] + r["answer"], "completion_mask": [0] * len(r["prompt"]) + [1] * len(r["answer"])}
        for r in spec["rows"]
    ]
    timed, seen = Timed(), list[int]()
    more = {} if spec.get("checkpointing", True) else {"gradient_checkpointing": False}
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder, per_device_train_batch_size=spec["batch"], num_train_epochs=1, learning_rate=1e-3,
            bf16=spec["precision"] == "bf16", use_cpu=not torch.cuda.is_available(), report_to=[], save_strategy="no",
            logging_steps=1, max_length=None, completion_only_loss=True, disable_tqdm=True, **more,
        )  # fmt: skip
        adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        trainer = SFTTrainer(
            model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
            peft_config=adapter, callbacks=[timed],
        )  # fmt: skip
        collate = trainer.data_collator

        def counted(batch: list[Spec]) -> Any:
            seen.append(sum(len(row["input_ids"]) for row in batch))
            return collate(batch)

        trainer.data_collator = counted
        trainer.train()
    rates = [tokens / seconds for tokens, seconds in zip(seen, timed.seconds, strict=False)]
    return {"rates": rates, "peak_gib": peak_gib()}


def plain_loop(spec: Spec) -> Spec:
    """transformers and PEFT in the loop of their documentation: padded batches in the order given, whole logits."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    model, _ = load(spec)
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, adapter).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    rates, losses = [], []
    for order in spec["steps"]:
        begun = time.perf_counter()
        rows = [spec["rows"][i] for i in order]
        longest = max(len(r["prompt"]) + len(r["answer"]) for r in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
        for i, row in enumerate(rows):
            whole = row["prompt"] + row["answer"]
            ids[i, : len(whole)], mask[i, : len(whole)] = torch.tensor(whole), 1
            labels[i, len(row["prompt"]) : len(whole)] = torch.tensor(row["answer"])
        ids, labels, mask = (part.to(DEVICE) for part in (ids, labels, mask))
        with torch.autocast(DEVICE, torch.bfloat16, enabled=spec["precision"] == "bf16"):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        rates.append(int(mask.sum()) / (time.perf_counter() - begun))
    return {"rates": rates, "losses": losses, "peak_gib": peak_gib()}


def lm_eval(spec: Spec) -> Spec:
    """lm-evaluation-harness' scoring with one request per label, on the token ids of the spec."""
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = load(spec)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=spec["batch"])
    requests = [(("", ""), prompt, label) for prompt in spec["prompts"] for label in spec["label_ids"]]
    begun = time.perf_counter()
    found = harness._loglikelihood_tokens(requests, disable_tqdm=True)
    seconds = time.perf_counter() - begun
    logs = [log for log, _ in found]
    width = len(spec["label_ids"])
    return {
        "seconds_a_row": seconds / len(spec["prompts"]),
        "logs": [logs[at : at + width] for at in range(0, len(logs), width)],
        "peak_gib": peak_gib(),
    }


def generate(spec: Spec) -> Spec:
    """transformers' generate, batch after batch in the order given, padded on the left."""
    model, tokenizer = load(spec)
    tokenizer.padding_side = "left"
    end, tokens, texts = spec["end"], 0, []
    begun = time.perf_counter()
    for start in range(0, len(spec["prompts"]), spec["batch"]):
        prompts = {"input_ids": spec["prompts"][start : start + spec["batch"]]}
        batch = tokenizer.pad(prompts, return_tensors="pt").to(DEVICE)
        with torch.inference_mode():
            out = model.generate(
                **batch, max_new_tokens=spec["new"], do_sample=False, eos_token_id=end, pad_token_id=end
            )
        for row in out[:, batch["input_ids"].shape[1] :].tolist():
            written = row[: row.index(end) + 1] if end in row else row
            tokens += len(written)
            texts.append(tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    seconds = time.perf_counter() - begun
    return {"tokens_a_second": tokens / seconds, "tokens": tokens, "texts": texts, "seconds": seconds}


def pipeline(spec: Spec) -> Spec:
    """transformers' text-generation pipeline on the same prompts as texts."""
    from transformers import pipeline as made

    model, tokenizer = load(spec)
    tokenizer.padding_side = "left"
    pipe = made("text-generation", model=model, tokenizer=tokenizer, batch_size=spec["batch"])
    texts = [tokenizer.decode(prompt) for prompt in spec["prompts"]]
    begun = time.perf_counter()
    found = pipe(
        texts, max_new_tokens=spec["new"], do_sample=False, return_full_text=False,
        add_special_tokens=False, eos_token_id=spec["end"], pad_token_id=spec["end"],
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    written = [row[0]["generated_text"] for row in found]
    tokens = sum(len(tokenizer(text, add_special_tokens=False).input_ids) + 1 for text in written)
    return {"tokens_a_second": tokens / seconds, "tokens": tokens, "seconds": seconds}


TASKS: dict[str, Callable[[Spec], Spec]] = {
    task.__name__: task for task in (trl, plain_loop, lm_eval, generate, pipeline)
}

if __name__ == "__main__":
    found = TASKS[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
    print(json.dumps(found))
