"""Measurements without another library: each technique switched off, growing tasks, the start of commands."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from material import Material
from measuring import Spec, in_turn, measured, middle, rate, written_a_second

from stepladder.engine.fast import kernels


def json_grammar(material: Material) -> Spec:
    """Generation from the same prompts with and without a JSON schema."""
    schema = {
        "type": "object",
        "properties": {
            "summary": {"type": "string", "minLength": 80, "maxLength": 120},
            "intent": {"enum": material.labels},
        },
        "required": ["summary", "intent"],
        "additionalProperties": False,
    }
    prompts = [
        material.prompt(text, "Write JSON: a summary of the message and its intent.") for text, _ in material.test[:32]
    ]
    spec = {**material.spec, "prompts": prompts, "new": 160, "batch": 16}
    free, held = in_turn(
        3, lambda: measured("ours", "generation", spec),
        lambda: measured("ours", "generation", {**spec, "schema": schema}),
    )  # fmt: skip
    a, b = middle(free, "tokens_a_second"), middle(held, "tokens_a_second")
    schema_alone = {**spec, "prompts": prompts[:2], "new": 4}
    again = measured("ours", "generation", {**schema_alone, "schema": schema})
    return {"free": a, "json": b, "share": b / a, "once": middle(held, "first") - again["seconds"]}


def retrieval(material: Material) -> Spec:
    """BM25 on passages made of Banking77's sentences, each with a number that identifies it."""
    found: Spec = {}
    draw = random.Random(0)
    sentences = [text for text, _ in material.train]
    for count in (10_000, 100_000):
        passages = [f"{' '.join(draw.sample(sentences, 4))} Case {at}." for at in range(count)]
        gold = draw.sample(range(count), 1000)
        queries = [f"{passages[at].split('.')[0][:120]} case {at}" for at in gold]
        runs = [
            measured("ours", "retrieval", {"passages": passages, "queries": queries, "gold": gold}) for _ in range(3)
        ]
        found[f"{count:,} passages"] = {key: middle(runs, key) for key in runs[0]}
    return found


def start(material: Material) -> Spec:
    """Seconds of commands, measured from the shell."""
    command = str(Path(sys.executable).parent / "stepladder")
    ladder = ["compare", "comparison=ladder", "experiment=first_look"]
    found: Spec = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, words in (
            ("stepladder --help", ["--help"]), ("stepladder show", ["show"]),
            ("stepladder compare, all of it there", [*ladder, "--outputs", folder]),
        ):  # fmt: skip
            times = []
            for _ in range(6):
                begun = time.perf_counter()
                subprocess.run([command, *words], capture_output=True, check=True, cwd=folder)
                times.append(time.perf_counter() - begun)
            found[name] = statistics.median(times[1:])
    return found


def techniques(material: Material) -> Spec:
    """Each technique switched off alone: how many times slower that is."""
    rows = material.training(16 * 40 if material.on_gpu else 160)
    train = {**material.spec, "batch": 16, "rows": rows}
    score = {
        **material.spec, "labels": material.labels,
        "prompts": [material.prompt(text, material.listed()) for text, _ in material.test[:32]],
    }  # fmt: skip
    write = {
        **material.spec, "new": 48, "batch": 16, "end": material.end,
        "prompts": [material.prompt(text, material.listed()) for text, _ in material.test[:48]],
    }  # fmt: skip
    few = {**train, "rows": rows[:64]}
    anywhere = () if material.on_gpu else ("kernels", *(("tiles",) if kernels.tiled(torch.bfloat16) else ()))
    own = ("varlen", "cuda_graphs") if material.on_gpu else (*anywhere, "row_attention")
    steps = ("cuda_graphs",) if material.on_gpu else ("fused_step",)
    prefix = () if material.on_gpu else ("shared_prefix",)  # there only from SHARED_ON_GPU tokens on
    cases: dict[str, tuple[str, Spec, Sequence[str], Callable[[Sequence[Spec]], float]]] = {
        "training": ("training", train, ("fused_lora", "fused_decoder", *prefix, *own), rate),
        "scoring": (
            "scoring", score, (*anywhere, *prefix, "fused_decoder"),
            lambda runs: 1 / middle(runs, "seconds_a_row"),
        ),
        "generation": (
            "generation", write, (*anywhere, *steps, *prefix, "fused_decoder", "refill"),
            written_a_second,
        ),
    }  # fmt: skip
    found: Spec = {}
    for case, (task, spec, names, speed) in cases.items():
        specs = [spec, *({**spec, "without": [name]} for name in names)]
        sides = [lambda task=task, spec=spec: measured("ours", task, spec) for spec in specs]
        whole, *others = in_turn(material.turns or 2, *sides)
        found[case] = {name: speed(whole) / speed(runs) for name, runs in zip(names, others, strict=True)}
    if not material.on_gpu:
        long = {**few, "without": ["waits"]}
        runs = in_turn(2, *(lambda spec=spec: {"runs": two_at_once(spec)} for spec in (few, long)))
        brief, plain = (rate([one for pair in side for one in pair["runs"]]) for side in runs)
        found["two trainings"] = {"waits": brief / plain}
    return found


def two_at_once(spec: Spec) -> list[Spec]:
    """Run the same training twice at the same time, on the same cores."""
    with ThreadPoolExecutor(2) as both:
        return list(both.map(lambda _: measured("ours", "training", spec), range(2)))


def growth(material: Material) -> Spec:
    """Seconds and memory with more labels, longer prompts, larger batches."""
    found: Spec = {}
    for labels in (10, 38, 77):
        spec = {
            **material.spec, "labels": material.labels[:labels],
            "prompts": [material.prompt(text) for text, _ in material.test[:32]],
        }  # fmt: skip
        one = measured("ours", "scoring", spec)
        found[f"scoring, {labels} labels"] = {"seconds_a_row": one["seconds_a_row"], "peak_gib": one["peak_gib"]}
    for words in (0, 200, 800):
        own = [" ".join(text for text, _ in material.test[at : at + 90]).split()[:words] for at in range(16)]
        prompts = [material.prompt(f"{' '.join(more)} {material.test[at][0]}") for at, more in enumerate(own)]
        spec = {
            **material.spec,
            "labels": material.labels,
            "prompts": prompts,
        }
        one = measured("ours", "scoring", spec)
        name = f"scoring, prompts of {round(statistics.mean(map(len, prompts)))} tokens of their own"
        found[name] = {"seconds_a_row": one["seconds_a_row"], "peak_gib": one["peak_gib"]}
    for batch in (4, 16, 64):
        spec = {
            **material.spec,
            "batch": batch,
            "rows": material.training(6 * batch),
        }
        one = measured("ours", "training", spec)
        found[f"training, batches of {batch}"] = {"tokens_a_second": rate([one]), "peak_gib": one["peak_gib"]}
    return found
