"""Compares Stepladder with other libraries and writes a page of docs/ from the results.

    scripts/bench                      all sections
    scripts/bench training scoring     some sections; earlier results of other sections are kept

Each measurement runs in its own process; the two sides of a ratio run in turn, and their medians are compared. Results
are stored in docs/benchmarks.json, on a CPU with AMX in benchmarks-amx.json, on a GPU in benchmarks-gpu.json. The page
next to each file is generated from it.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from alone import growth, json_grammar, retrieval, start, techniques
from material import SYSTEM, Material
from measuring import ROOT, Spec, in_turn, measured, middle, rate
from page import written

BODY_OPERATIONS = 4 * 106e6  # per training token of SmolLM2-135M: forward, and backward to the inputs only
LARGER = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32}
"""The shape of SmolLM2-1.7B, whose layers have 1.6 G weights."""
LARGER_OPERATIONS = 4 * 24 * (4 * 2048**2 + 3 * 2048 * 8192)


def training(material: Material) -> Spec:
    rows, found = material.training(16 * 40), {}
    for precision in material.precisions:
        spec = {**material.spec, "precision": precision, "batch": 16}
        few = {**spec, "rows": rows if material.on_gpu else rows[: 64 if precision == "float32" else 128]}
        sides = (
            lambda few=few: measured("ours", "training", few),
            lambda spec=spec: measured("ours", "ceiling", {**spec, "tokens": 768}),
            lambda few=few: measured("peers", "trl", few),
        )
        ours, tops, trl = in_turn(material.turns or 3, *sides)
        top = middle(tops, "operations_a_second")
        found[precision] = {
            "ours": rate(ours), "trl": rate(trl), "ratio": rate(ours) / rate(trl),
            "ceiling": top / BODY_OPERATIONS, "share": rate(ours) * BODY_OPERATIONS / top,
            "ours_gib": middle(ours, "peak_gib"), "trl_gib": middle(trl, "peak_gib"),
        }  # fmt: skip
    return found


def largest(material: Material) -> Spec:
    """Speed and memory for growing micro-batches on a GPU."""
    rows, found = material.training(1024), {}
    with tempfile.TemporaryDirectory() as folder:
        larger = material.shaped(Path(folder), **LARGER, num_key_value_heads=32)
        models = (("SmolLM2-135M", material.spec, BODY_OPERATIONS), ("SmolLM2-1.7B", larger, LARGER_OPERATIONS))
        for name, spec, operations in models:
            spec = {**spec, "rows": rows, "steps": 16 * 40, "batches": [4**n for n in range(2, 8)]}
            one = measured("ours", "largest", spec)
            top = measured("ours", "ceiling", {**spec, "tokens": 16384})["operations_a_second"]
            shares = [{**step, "share": step["rate"] * operations / top} for step in one["steps"]]
            found[name] = {"steps": shares, "most": one["most"], "ceiling": top / operations}
    return found


def loss(material: Material) -> Spec:
    """Losses of fifty equal steps of Stepladder and of the plain loop, from the same weights. The plain loop also runs
    with the rows of each batch reversed, which only changes the rounding."""
    from stepladder.tuning.batches import epoch_order

    rows, found = material.training(800), {}
    lengths = [len(row["prompt"]) + len(row["answer"]) for row in rows]
    for precision in material.precisions:
        spec = {**material.spec, "precision": precision, "batch": 16, "rows": rows}
        ours = measured("ours", "training", spec)
        steps = epoch_order(lengths, 16, 0, 0)
        plain = measured("peers", "plain_loop", {**spec, "steps": steps})
        turned = measured("peers", "plain_loop", {**spec, "steps": [step[::-1] for step in steps]})
        curves = [run["losses"] for run in (ours, plain)]
        last, whole = ([statistics.mean(curve[-n:]) for curve in curves] for n in (10, 50))
        found[precision] = {
            "ours": last[0], "plain": last[1], "off": last[0] / last[1] - 1, "off_whole": whole[0] / whole[1] - 1,
            "off_most": max(abs(x / y - 1) for x, y in zip(*curves, strict=True)),
            "off_turned": statistics.mean(turned["losses"][-10:]) / last[1] - 1,
        }  # fmt: skip
    return found


def scoring(material: Material) -> Spec:
    found: Spec = {}
    ids = [material.model.encode_answer(label) for label in material.labels]
    few = {"bf16": (24, 3), "float32": (6, 1)}  # rows that lm-eval scores, so that it takes minutes and not hours
    first = material.precisions[0]
    cases = [("zero-shot", SYSTEM, few[precision][0], precision) for precision in material.precisions]
    cases.append(("77 labels listed", material.listed(), few[first][1], first))
    for name, system, count, precision in cases:
        prompts = [material.prompt(text, system) for text, _ in material.test[:96]]
        spec = {**material.spec, "precision": precision, "labels": material.labels, "batch": 32}
        many = {**spec, "prompts": prompts[: 96 if precision == "bf16" else 48]}
        some = {**spec, "prompts": prompts[:count], "label_ids": ids}
        sides = (
            lambda many=many: measured("ours", "scoring", many),
            lambda some=some: measured("peers", "lm_eval", some),
        )
        ours, theirs = in_turn(material.turns or 2, *sides)
        a, b = middle(ours, "seconds_a_row"), middle(theirs, "seconds_a_row")
        pairs = list(zip(ours[0]["logs"], theirs[0]["logs"], strict=False))
        found[f"{name}, {precision}"] = {
            "ours": a, "lm_eval": b, "ratio": b / a, "rows": len(pairs),
            **alike(pairs), "prompt_tokens": statistics.mean(map(len, prompts)),
        }  # fmt: skip
    return found


def agreement(material: Material) -> Spec:
    """Whether both sides choose the same labels: many rows, few labels, float32."""
    labels = material.labels[::16]
    prompts = [material.prompt(text) for text, _ in material.test[:1000]]
    spec = {**material.spec, "precision": "float32", "labels": labels, "batch": 32, "prompts": prompts}
    ours = measured("ours", "scoring", spec)
    ids = [material.model.encode_answer(label) for label in labels]
    theirs = measured("peers", "lm_eval", {**spec, "label_ids": ids})
    pairs = list(zip(ours["logs"], theirs["logs"], strict=True))
    return {"rows": len(pairs), "labels": len(labels), **alike(pairs)}


def alike(pairs: Sequence[tuple[list[float], list[float]]]) -> Spec:
    """The largest difference of log-probabilities, and how often both sides choose the same label."""
    return {
        "apart": max(abs(x - y) for left, right in pairs for x, y in zip(left, right, strict=True)),
        "same": statistics.mean(left.index(max(left)) == right.index(max(right)) for left, right in pairs),
    }


def generation(material: Material) -> Spec:
    found: Spec = {}
    texts = [text for text, _ in material.test]
    mixed = [" ".join(texts[at * 8 :][: 1 + at % 8 * (at % 2)]) for at in range(96)]  # half short, half up to 8 of them
    words = material.listed()
    cases = {
        "rows of mixed length": ("Answer the customer in a sentence.", mixed),
        "a shared prefix of 600 tokens": (f"{words} {words[:900]}", texts[:64]),
    }
    for name, (system, asked) in cases.items():
        prompts = [material.prompt(text, system) for text in asked]
        for precision in material.precisions:
            spec = {
                **material.spec, "precision": precision, "prompts": prompts, "new": 48, "batch": 16,
                "end": material.end,
            }  # fmt: skip
            sides = [
                lambda spec=spec: measured("ours", "generation", spec),
                lambda spec=spec: measured("peers", "generate", spec),
                lambda spec=spec: measured("peers", "pipeline", spec),
            ]
            ours, theirs, pipe = in_turn(material.turns or 2, *sides)
            a, b, c = (middle(runs, "tokens_a_second") for runs in (ours, theirs, pipe))
            same = statistics.mean(x == y for x, y in zip(ours[0]["texts"], theirs[0]["texts"], strict=True))
            found[f"{name}, {precision}"] = {
                "ours": a, "generate": b, "pipeline": c, "ratio": a / b, "ratio_pipeline": a / c, "same": same,
                "prompt_tokens": statistics.mean(map(len, prompts)),
            }  # fmt: skip
    return found


SECTIONS: dict[str, Callable[[Material], Spec]] = {
    section.__name__: section
    for section in (
        training, largest, loss, scoring, agreement, generation, json_grammar, retrieval, start, techniques, growth
    )
}  # fmt: skip
GPU_ALONE = {"largest"}


def main(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"scripts/bench has no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    material = Material()
    page = ROOT / "docs" / material.page
    figures = page.with_suffix(".json")
    kept = json.loads(figures.read_text()) if figures.exists() else {}
    for name in names or (name for name in SECTIONS if name not in GPU_ALONE or material.on_gpu):
        print(name, file=sys.stderr, flush=True)
        begun = time.time()
        found = SECTIONS[name](material)
        kept[name] = {"found": found, "took": round(time.time() - begun), "machine": machine()}
        figures.write_text(json.dumps(kept, indent=1) + "\n")
        page.write_text(written(kept, figures.name))


def machine() -> str:
    import torch

    from stepladder.engine.precision import has_bf16

    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()} and {os.cpu_count()} cores, torch {torch.__version__}"
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return f"{os.cpu_count()} cores of {cpu} {'with' if has_bf16('cpu') else 'without'} bf16 products"


if __name__ == "__main__":
    main(sys.argv[1:])
