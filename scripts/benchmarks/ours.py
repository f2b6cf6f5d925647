"""One measurement of Stepladder, in a process of its own: ours.py TASK SPEC.json prints a line of JSON.

The spec holds the rows as token ids or texts, so that both sides of a comparison read the very same.
`without` names techniques of the fast engine that are switched off, to see what each gives alone.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from stepladder.cli.threads import wait_briefly

Spec = dict[str, Any]


def peak_gib() -> float:
    """Of the GPU where there is one."""
    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def load(spec: Spec) -> Any:
    from stepladder.models.loading import load_causal

    return load_causal(Path(spec["model"]), spec["precision"], None)


def training(spec: Spec) -> Spec:
    """Tokens a second of each step; the loss of each step."""
    import peft

    from stepladder.io.files import read_lines
    from stepladder.resources import Resources
    from stepladder.tuning.fine_tune import FineTune
    from stepladder.tuning.training import Training
    from stepladder.tuning.tuning import TrainingRow

    model = load(spec)
    rows = [TrainingRow(str(i), r["prompt"], r["answer"]) for i, r in enumerate(spec["rows"])]
    adapter = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    how = Training(
        epochs=1, batch_size=spec["batch"], learning_rate=1e-3, schedule="constant", warmup=0.0,
        precision=spec["precision"],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        FineTune(adapter, how).tune(model, rows, (), Resources(folder=Path(folder)))
        lines = list(read_lines(Path(folder) / "metrics.jsonl"))
    rates = [line["tokens"] / line["seconds"] for line in lines]
    return {"rates": rates, "losses": [line["loss"] for line in lines], "peak_gib": peak_gib()}


def largest(spec: Spec) -> Spec:
    """Tokens a second and memory of steps of ever more rows, all in the machine at once, until they do not fit."""
    import peft
    import torch

    from stepladder.io.files import read_lines
    from stepladder.resources import Resources
    from stepladder.tuning.fine_tune import FineTune
    from stepladder.tuning.training import Training
    from stepladder.tuning.tuning import TrainingRow

    model, found = load(spec), []
    adapter = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear")
    for batch in spec["batches"]:
        steps = max(3 if batch <= 4096 else 1, spec["steps"] // batch)
        repeated = islice(cycle(spec["rows"]), steps * batch)
        rows = [TrainingRow(str(i), row["prompt"], row["answer"]) for i, row in enumerate(repeated)]
        how = Training(epochs=1, batch_size=batch, precision=spec["precision"], warmup=0.0)
        torch.cuda.reset_peak_memory_stats()
        with tempfile.TemporaryDirectory() as folder:
            resources = Resources(folder=Path(folder), micro_batch=batch)
            FineTune(adapter, how).tune(model, rows, (), resources)
            lines = list(read_lines(Path(folder) / "metrics.jsonl"))
        if "rows_at_once" in resources.report.figures:
            return {"steps": found, "most": resources.report.figures["rows_at_once"]}
        rates = [line["tokens"] / line["seconds"] for line in lines]
        found.append({
            "rows": batch, "tokens": statistics.mean(line["tokens"] for line in lines), "peak_gib": peak_gib(),
            "rate": statistics.median(rates[len(rates) // 2 :]),
        })  # fmt: skip
    return {"steps": found, "most": None}


def scoring(spec: Spec) -> Spec:
    """Seconds a row; every log-probability."""
    model = load(spec)
    labels = [tuple(spec["labels"])] * len(spec["prompts"])
    list(model.score(spec["prompts"][:2], labels[:2]))
    begun = time.perf_counter()
    found = dict(model.score(spec["prompts"], labels))
    seconds = time.perf_counter() - begun
    logs = [list(found[i].log_probabilities) for i in range(len(labels))]
    return {"seconds_a_row": seconds / len(labels), "logs": logs, "peak_gib": peak_gib()}


def generation(spec: Spec) -> Spec:
    """New tokens a second; the texts; how long the first two answers took, of four tokens or what a schema wants."""
    model = load(spec)
    begun = time.perf_counter()
    list(model.generate(spec["prompts"][:2], 4, schema=spec.get("schema"), micro_batch=2))
    first, begun = time.perf_counter() - begun, time.perf_counter()
    found = dict(model.generate(spec["prompts"], spec["new"], schema=spec.get("schema"), micro_batch=spec.get("batch")))
    seconds = time.perf_counter() - begun
    done = [found[i] for i in range(len(spec["prompts"]))]
    tokens = sum(c.new_tokens for c in done)
    texts = [c.text for c in done]
    return {
        "tokens_a_second": tokens / seconds, "tokens": tokens, "texts": texts, "seconds": seconds, "first": first
    }  # fmt: skip


def retrieval(spec: Spec) -> Spec:
    """Seconds for the index, for the queries, and for the index again from what is kept."""
    from stepladder.context.index import WordIndex
    from stepladder.resources import Resources

    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(2):
            begun = time.perf_counter()
            index = WordIndex(spec["passages"], "en", 1.5, 0.75, Resources(shared=Path(folder)))
            times.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        found = index.search(spec["queries"], 5, [()] * len(spec["queries"]))
        searching = time.perf_counter() - begun
        disk = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return {
        "index_seconds": times[0], "again_seconds": times[1], "query_seconds": searching, "disk_mib": disk / 2**20,
        "hit": statistics.mean(gold in places for gold, places in zip(spec["gold"], found, strict=True)),
        "peak_gib": peak_gib(),
    }  # fmt: skip


def ceiling(spec: Spec) -> Spec:
    """The machine's matrix products of the model's own shapes, in operations a second."""
    import torch

    dtype = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    device, at_once = ("cuda", 50) if torch.cuda.is_available() else ("cpu", 1)
    config = json.loads((Path(spec["model"]) / "config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    best = 0.0
    for ins, outs in ((width, inner), (inner, width), (width, width)):
        x = torch.randn(spec["tokens"], ins, dtype=dtype, device=device)
        w = torch.randn(ins, outs, dtype=dtype, device=device)
        times = []
        for _ in range(30):
            begun = time.perf_counter()
            for _ in range(at_once):
                x @ w
            if device == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - begun) / at_once)
        best = max(best, 2 * spec["tokens"] * ins * outs / statistics.median(times[5:]))
    return {"operations_a_second": best}


SAID = {"waits": ("GOMP_SPINCOUNT", "300000")}
"""What is plain because the environment says so before the process begins."""
TASKS: dict[str, Callable[[Spec], Spec]] = {
    task.__name__: task for task in (training, largest, scoring, generation, retrieval, ceiling)
}

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text())
    without = set(given.get("without", ()))
    for name in without & SAID.keys():
        os.environ.update([SAID[name]])
    wait_briefly()  # as the command does
    if techniques := without - SAID.keys():
        from stepladder.engine.fast.techniques import ON

        for name in techniques:
            setattr(ON, name, False)
    print(json.dumps(TASKS[sys.argv[1]](given)))
