"""Measures Stepladder beside its peers, side by side in turns, and writes docs/benchmarks.md from what was found.

    scripts/bench                      everything
    scripts/bench training scoring     some sections; what other sections found before is kept

Each measurement is a process of its own; the two sides of a ratio run in turn, and medians are compared. Results are in
docs/benchmarks.json; the page is written from that file alone.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from material import SYSTEM, Material
from page import written

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FOUND = ROOT / "docs" / "benchmarks.json"
PEERS = ROOT / ".bench" / "bin" / "python"
BODY_OPERATIONS = 4 * 106e6  # of a trained token of SmolLM2-135M: forward, and backward to the inputs alone

Spec = dict[str, Any]


def measured(script: str, task: str, spec: Spec) -> Spec:
    """What a process of its own found."""
    python = sys.executable if script == "ours" else str(PEERS)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        done = subprocess.run(
            [python, str(HERE / f"{script}.py"), task, file.name], capture_output=True, text=True, check=False
        )
    if done.returncode:
        sys.exit(f"{script} {task} failed:\n{done.stderr[-3000:]}")
    found: Spec = json.loads(done.stdout.splitlines()[-1])
    print(f"  {script} {task}: {short(found)}", file=sys.stderr, flush=True)
    return found


def short(found: Spec) -> str:
    told = {key: round(value, 3) for key, value in found.items() if isinstance(value, float)}
    if "rates" in found:
        told["tokens/s"] = round(statistics.median(found["rates"]), 1)
    return str(told)


def in_turn(times: int, *sides: Callable[[], Spec]) -> list[list[Spec]]:
    """Each side `times` times, in turn: what changes on the machine meets both."""
    found: list[list[Spec]] = [[] for _ in sides]
    for _ in range(times):
        for at, side in enumerate(sides):
            found[at].append(side())
    return found


def middle(runs: Sequence[Spec], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def rate(runs: Sequence[Spec]) -> float:
    """Tokens a second from the first step on: the median step of the median run."""
    return statistics.median(statistics.median(run["rates"]) for run in runs)


def training(material: Material) -> Spec:
    rows, found = material.training(256), {}
    for precision in material.precisions:
        spec = {**material.spec, "precision": precision, "batch": 16}
        few = {**spec, "rows": rows[: 64 if precision == "float32" else 128]}
        sides = (
            lambda few=few: measured("ours", "training", few),
            lambda spec=spec: measured("ours", "ceiling", {**spec, "tokens": 768}),
            lambda few=few: measured("peers", "trl", few),
        )
        ours, tops, trl = in_turn(3, *sides)
        top = middle(tops, "operations_a_second")
        found[precision] = {
            "ours": rate(ours), "trl": rate(trl), "ratio": rate(ours) / rate(trl),
            "ceiling": top / BODY_OPERATIONS, "share": rate(ours) * BODY_OPERATIONS / top,
            "ours_gib": middle(ours, "peak_gib"), "trl_gib": middle(trl, "peak_gib"),
        }  # fmt: skip
    return found


def loss(material: Material) -> Spec:
    """Fifty equal steps."""
    from stepladder.tuning.batches import epoch_order

    rows = material.training(800)
    lengths = [len(row["prompt"]) + len(row["answer"]) for row in rows]
    spec = {**material.spec, "batch": 16, "rows": rows}
    ours = measured("ours", "training", spec)
    plain = measured("peers", "plain_loop", {**spec, "steps": epoch_order(lengths, 16, 0, 0)})
    last = [statistics.mean(run["losses"][-10:]) for run in (ours, plain)]
    return {
        "ours": last[0], "plain": last[1], "off": last[0] / last[1] - 1, "ours_rate": rate([ours]),
        "plain_rate": rate([plain]), "curve": [ours["losses"], plain["losses"]],
    }  # fmt: skip


def scoring(material: Material) -> Spec:
    found: Spec = {}
    ids = [material.model.encode_answer(label) for label in material.labels]
    few = {"bf16": (24, 3), "float32": (6, 1)}  # rows that lm-eval scores, for minutes and not for hours
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
        ours, theirs = in_turn(2, *sides)
        a, b = middle(ours, "seconds_a_row"), middle(theirs, "seconds_a_row")
        pairs = list(zip(ours[0]["logs"], theirs[0]["logs"], strict=False))
        found[f"{name}, {precision}"] = {
            "ours": a, "lm_eval": b, "ratio": b / a, "rows": len(pairs),
            **alike(pairs), "prompt_tokens": statistics.mean(map(len, prompts)),
        }  # fmt: skip
    return found


def agreement(material: Material) -> Spec:
    """Many rows, few labels, float32: whether both sides choose the same."""
    labels = material.labels[::16]
    prompts = [material.prompt(text) for text, _ in material.test[:1000]]
    spec = {**material.spec, "precision": "float32", "labels": labels, "batch": 32, "prompts": prompts}
    ours = measured("ours", "scoring", spec)
    ids = [material.model.encode_answer(label) for label in labels]
    theirs = measured("peers", "lm_eval", {**spec, "label_ids": ids})
    pairs = list(zip(ours["logs"], theirs["logs"], strict=True))
    return {"rows": len(pairs), "labels": len(labels), **alike(pairs)}


def alike(pairs: Sequence[tuple[list[float], list[float]]]) -> Spec:
    """How far log-probabilities of two sides lie apart at most, and how often both choose the same."""
    return {
        "apart": max(abs(x - y) for left, right in pairs for x, y in zip(left, right, strict=True)),
        "same": statistics.mean(left.index(max(left)) == right.index(max(right)) for left, right in pairs),
    }


def generation(material: Material) -> Spec:
    found: Spec = {}
    few = [text for text, _ in material.test[:32]]
    mixed = [" ".join(few[: 1 + at % 8]) if at % 2 else text for at, (text, _) in enumerate(material.test[:96])]
    words = material.listed()
    cases = {
        "rows of mixed length": ("Answer the customer in a sentence.", mixed),
        "a shared prefix of 600 tokens": (f"{words} {words[:900]}", [text for text, _ in material.test[:64]]),
    }
    for name, (system, texts) in cases.items():
        prompts = [material.prompt(text, system) for text in texts]
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
            ours, theirs, pipe = in_turn(2, *sides)
            a, b, c = (middle(runs, "tokens_a_second") for runs in (ours, theirs, pipe))
            same = statistics.mean(x == y for x, y in zip(ours[0]["texts"], theirs[0]["texts"], strict=True))
            found[f"{name}, {precision}"] = {
                "ours": a, "generate": b, "pipeline": c, "ratio": a / b, "ratio_pipeline": a / c, "same": same,
                "prompt_tokens": statistics.mean(map(len, prompts)),
            }  # fmt: skip
    return found


def json_grammar(material: Material) -> Spec:
    """The same prompts written freely and under a schema, by ours."""
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
    return {"free": a, "json": b, "share": b / a}


def retrieval(material: Material) -> Spec:
    """Passages made of Banking77's sentences, a number in each so that it can be found again."""
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
    """Commands as a person types them, from the shell and back."""
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
    """Each technique put back to the plain way, alone: how many times slower that is."""
    rows = material.training(160)
    train = {**material.spec, "batch": 16, "rows": rows}
    score = {
        **material.spec, "labels": material.labels,
        "prompts": [material.prompt(text, material.listed()) for text, _ in material.test[:32]],
    }  # fmt: skip
    write = {
        **material.spec, "new": 48, "batch": 16, "end": material.end,
        "prompts": [material.prompt(text, material.listed()) for text, _ in material.test[:48]],
    }  # fmt: skip
    tasks: dict[str, tuple[Spec, Sequence[str], Callable[[Sequence[Spec]], float]]] = {
        "training": (train, ("low_rank", "body", "rows", "attention", "prefix", "head"), rate),
        "scoring": (score, ("prefix", "body", "attention"), lambda runs: 1 / middle(runs, "seconds_a_row")),
        "generation": (write, ("prefix", "body", "slots", "attention"), lambda runs: middle(runs, "tokens_a_second")),
    }
    found: Spec = {}
    for task, (spec, names, speed) in tasks.items():
        sides = [lambda task=task, spec=spec: measured("ours", task, spec)]
        sides += [
            lambda task=task, spec=spec, name=name: measured("ours", task, {**spec, "without": [name]})
            for name in names
        ]
        whole, *others = in_turn(2, *sides)
        found[task] = {name: speed(whole) / speed(runs) for name, runs in zip(names, others, strict=True)}
    return found


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


SECTIONS: dict[str, Callable[[Material], Spec]] = {
    section.__name__: section
    for section in (training, loss, scoring, agreement, generation, json_grammar, retrieval, start, techniques, growth)
}


def main(names: Sequence[str]) -> None:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"scripts/bench knows no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    kept = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    material = Material()
    for name in names or SECTIONS:
        print(name, file=sys.stderr, flush=True)
        begun = time.time()
        found = SECTIONS[name](material)
        kept[name] = {"found": found, "took": round(time.time() - begun), "machine": machine()}
        FOUND.write_text(json.dumps(kept, indent=1) + "\n")
        (ROOT / "docs" / "benchmarks.md").write_text(written(kept))


def machine() -> str:
    from stepladder.precision import has_bf16

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0] if names else cpu
    return f"{os.cpu_count()} cores of {cpu} {'with' if has_bf16('cpu') else 'without'} bf16 products"


if __name__ == "__main__":
    main(sys.argv[1:])
