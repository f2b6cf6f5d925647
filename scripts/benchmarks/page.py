"""The page of what was measured. Every number on it comes out of the file of figures beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

Spec = dict[str, Any]

HEAD = """# Benchmarks

Written by `scripts/bench`; every figure is in `{figures}` beside this page. Both sides of a ratio are processes
of their own that ran in turn on the same rows, precision, batch size and LoRA; medians are compared (a GPU, which is
nobody else's, runs each once). Machines differ and are shared: trust the ratios, not the seconds.
Each kind has a page: [a CPU](benchmarks.md), [a CPU with AMX](benchmarks-amx.md), [a GPU](benchmarks-gpu.md).

Model: SmolLM2-135M-Instruct. Rows: Banking77. Peers: TRL 1.16.0, lm-eval 0.4.13, transformers and PEFT as pinned in
`constraints.txt`.
"""

TECHNIQUES = {
    "waits": (
        "threads wait for each other in a loop for a moment only",
        "GNU OpenMP, several processes on the same cores; alone it gains nothing", "tests/cli/test_threads.py",
    ),
    "kernels": (
        "norms, rotation, gate and softmaxes compiled, each one pass through memory",
        "a CPU, and a compiler on the machine, which works for a second once", "tests/engine/fast/test_kernels.py",
    ),
    "tiles": (
        "products by AMX tiles of prepacked weights", "bf16 on a CPU with tiles (AMX); gains little from 1,000 rows on",
        "tests/engine/fast/test_matrix.py",
    ),
    "fused_lora": (
        "LoRA as one function", "no copies in float32, no gradient for frozen weights; plain LoRA and rsLoRA only",
        "tests/engine/fast/test_low_rank.py",
    ),
    "training/fused_decoder": (
        "joined matrices, norms, rotation and gate with backward passes of their own",
        "LoRA on Llama, Mistral, Qwen2 and Qwen3; a second copy of the weights that are joined",
        "tests/engine/fast/test_fused_training.py",
    ),
    "fused_decoder": (
        "joined matrices, few operations", "Llama, Mistral, Qwen2 and Qwen3; a second copy of the weights in memory",
        "tests/engine/decoding/test_session.py",
    ),
    "row_attention": (
        "attention inside short rows as one function", "rows of up to 512 tokens on a CPU; keeps weights for backward",
        "tests/engine/fast/test_attention.py",
    ),
    "training/own_attention": (
        "attention by row, padding not read", "models whose attention can be replaced; short rows on a CPU gain most",
        "tests/engine/fast/test_attention.py",
    ),
    "own_attention": (
        "own attention over KV-cache slots", "models whose attention can be replaced",
        "tests/engine/decoding/test_session.py",
    ),
    "training/shared_prefix": (
        "the shared prefix of a batch is read once", "gains nothing where prompts begin differently",
        "tests/engine/fast/test_attention.py",
    ),
    "shared_prefix": (
        "the prompts' shared prefix is read once", "gains nothing where prompts begin differently",
        "tests/engine/decoding/test_session.py",
    ),
    "varlen": (
        "one attention kernel for rows of different lengths", "a GPU and bf16; no mask, no padding",
        "tests/engine/fast/test_varlen.py",
    ),
    "training/cuda_graphs": (
        "a pass and its gradients captured once for a shape, then replayed (CUDA graphs)",
        "a GPU, bf16, the fused decoder; from the third pass of a shape on; a capture takes some passes' time",
        "tests/engine/fast/test_gpu.py",
    ),
    "cuda_graphs": (
        "a step of all rows captured once for a shape, then replayed (CUDA graphs)",
        "a GPU, the fused decoder; from the third step of a shape on; a capture takes some steps' time",
        "tests/engine/fast/test_gpu.py",
    ),
    "fused_step": (
        "a step of few tokens through all layers in one compiled call",
        "Llama, Mistral, Qwen2 and Qwen3 on a CPU with vectors of 64 bytes, and a compiler on the machine",
        "tests/engine/decoding/test_fused_step.py",
    ),
    "refill": (
        "a finished row makes room for a waiting one", "gains nothing where all answers are of one length",
        "tests/engine/decoding/test_session.py",
    ),
    "forced_tokens": (
        "tokens that the schema forces are read ahead", "keys, and labels once they have begun; no other text",
        "tests/engine/decoding/test_speculation.py",
    ),
}  # fmt: skip
"""By a technique's name, or a case's and its name: what it is, when it pays, the test of its results."""
CASES = {"form": "JSON of five short fields", "two trainings": "two trainings at once"}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows)]) + "\n"


def training(found: Spec) -> str:
    rows = [
        (
            name, f"{one['ours']:.0f}", f"{one['trl']:.0f}", f"**{one['ratio']:.1f}**", f"{one['ceiling']:.0f}",
            f"{one['share']:.0%}", f"{one['ours_gib']:.1f}", f"{one['trl_gib']:.1f}",
        )
        for name, one in found.items()
    ]  # fmt: skip
    head = ("precision", "tokens/s", "TRL", "ratio", "ceiling", "share", "GiB", "TRL's GiB")
    return (
        "LoRA r=16 on all linear layers, batches of 16 rows of 40 to 128 tokens, from the first step on, nothing\n"
        "compiled. Tokens are those of the rows, without padding. The ceiling is what the machine's matrix products\n"
        "of the model's own shapes allow when every token is computed (4 x 106 M operations each); a prefix that is\n"
        "read once for a whole batch can pass it. Where products are quick, as by the tiles of AMX and on a GPU, most\n"
        "of a step is memory and what lies between them.\n\n" + table(head, rows)
    )


def largest(found: Spec) -> str:
    rows = [
        (
            name, f"{step['rows']:,}", f"{step['tokens']:,.0f}", f"{step['rate']:,.0f}", f"{step['share']:.1%}",
            f"{step['peak_gib']:.1f}",
        )
        for name, one in found.items()
        for step in one["steps"]
    ]  # fmt: skip
    head = ("model", "rows", "tokens of a step", "tokens/s", "share of the ceiling", "GiB")
    ends = [
        f"With {one['steps'][-1]['rows'] * 4:,} rows of {name} memory ran out, and {one['most']:,} were learnt at once."
        for name, one in found.items()
        if one["most"]
    ]
    return (
        "Training as above, all rows of a step in memory at once (`compute.micro_batch`). SmolLM2-1.7B is its shape\n"
        "alone: its weights are drawn at random. There are 640 rows for each size, or three steps: with 64 rows and\n"
        "more, passes are hardly ever played from a recording.\n\n"
        + table(head, rows)
        + "".join(f"\n{end}" for end in ends)
        + "\n"
    )


def loss(found: Spec) -> str:
    rows = [
        (
            name, f"{one['ours']:.4f}", f"{one['plain']:.4f}", f"{one['off']:+.2%}", f"{one['off_whole']:+.2%}",
            f"{one['off_most']:.2%}", f"{one['off_turned']:+.2%}" if "off_turned" in one else "",
        )
        for name, one in found.items()
    ]  # fmt: skip
    head = (
        "precision", "ours", "plain loop", "off", "off, all fifty", "off at most, a single step",
        "the plain loop turned round",
    )  # fmt: skip
    return (
        "Fifty equal steps of ours and of the plain loop of transformers and PEFT: mean loss of the last ten. In bf16\n"
        "every rounding is carried on by the steps after it: the plain loop is off itself when rows of a batch come\n"
        "in reverse. In float32 the curves show whether the maths is one.\n\n" + table(head, rows)
    )


def scoring(found: Spec) -> str:
    rows = [
        (
            name, f"{one['prompt_tokens']:.0f}", f"{one['ours']:.3g}", f"{one['lm_eval']:.3g}",
            f"**{one['ratio']:.1f}**", f"{one['apart']:.1e}", f"{one['same']:.1%} of {one['rows']}",
        )
        for name, one in found.items()
    ]  # fmt: skip
    head = ("prompt", "tokens", "s a row", "lm-eval", "ratio", "log-probabilities apart by at most", "same choice")
    return "All 77 labels of Banking77 with their end token, on the same token ids.\n\n" + table(head, rows)


def agreement(found: Spec) -> str:
    return (
        f"In float32, {found['rows']:,} rows with {found['labels']} labels each: log-probabilities are apart by at "
        f"most {found['apart']:.1e}, and {found['same']:.2%} of the choices are the same.\n"
    )


def generation(found: Spec) -> str:
    rows = [
        (
            name, f"{one['prompt_tokens']:.0f}", f"{one['ours']:.0f}", f"{one['generate']:.0f}",
            f"**{one['ratio']:.1f}**", f"{one['pipeline']:.0f}", f"**{one['ratio_pipeline']:.1f}**",
            f"{one['same']:.0%}",
        )
        for name, one in found.items()
    ]  # fmt: skip
    head = ("rows", "prompt tokens", "tokens/s", "generate", "ratio", "pipeline", "ratio", "same texts")
    return "Greedy, at most 48 new tokens, 16 rows at once.\n\n" + table(head, rows)


def json_grammar(found: Spec) -> str:
    return (
        f"Under a JSON schema {found['json']:.0f} tokens/s, freely {found['free']:.0f}: {found['share']:.0%} as fast.\n"
        f"Before the first answer under a schema, once a process, {found['once']:.1f} s more: tokens are laid out.\n"
    )


def retrieval(found: Spec) -> str:
    rows = [
        (
            name, f"{one['index_seconds']:.1f}", f"{one['again_seconds']:.2f}", f"{one['query_seconds']:.2f}",
            f"{one['hit']:.1%}", f"{one['disk_mib']:.0f}", f"{one['peak_gib']:.1f}",
        )
        for name, one in found.items()
    ]  # fmt: skip
    head = ("BM25", "index, s", "from the store, s", "1,000 queries, s", "gold among five", "disk, MiB", "GiB")
    return table(head, rows)


def start(found: Spec) -> str:
    return table(("command", "s"), ((f"`{name}`", f"{seconds:.2f}") for name, seconds in found.items()))


def techniques(found: Spec) -> str:
    rows = []
    for case, gains in found.items():
        for name, gain in gains.items():
            what, when, test = TECHNIQUES.get(f"{case}/{name}") or TECHNIQUES[name]
            rows.append((CASES.get(case, case), what, f"{gain:.2f}", when, f"`{test}`"))
    head = ("in", "technique", "times faster with it", "when it pays, what it costs", "equal to the reference by")
    return "Each switched off alone, all others left on (`engine/fast/techniques.py`).\n\n" + table(head, rows)


def growth(found: Spec) -> str:
    rows = [
        (
            name,
            f"{one['seconds_a_row']:.2f} s a row"
            if "seconds_a_row" in one
            else f"{one['tokens_a_second']:.0f} tokens/s",
            f"{one['peak_gib']:.1f}",
        )
        for name, one in found.items()
    ]
    return table(("what", "time", "GiB"), rows)


SECTIONS: dict[str, tuple[str, Callable[[Spec], str]]] = {
    "training": ("Training", training),
    "largest": ("The largest step", largest),
    "loss": ("The same maths", loss),
    "scoring": ("Choosing a label", scoring),
    "agreement": ("The same choice", agreement),
    "generation": ("Writing", generation),
    "json_grammar": ("Writing JSON", json_grammar),
    "retrieval": ("Retrieval", retrieval),
    "start": ("Starting", start),
    "techniques": ("What each technique gives alone", techniques),
    "growth": ("How it grows", growth),
}


def written(kept: Spec, figures: str) -> str:
    """The page; `figures` names the file that they are in."""
    parts = [HEAD.replace("{figures}", figures)]
    for name, (title, tell) in SECTIONS.items():
        if name in kept:
            one = kept[name]
            parts.append(
                f"## {title}\n\n{tell(one['found'])}\n`scripts/bench {name}`, {one['took']} s on {one['machine']}.\n"
            )
    return "\n".join(parts)
