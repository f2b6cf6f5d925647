"""Compares the speed of this tree with an earlier revision of it, in turn on the same machine.

    scripts/bench earlier REVISION [turns=5]

Prints the medians of training (seconds per 1,000 tokens), label scoring (per row), generation (per token) and the start
of commands, and the ratio of the two.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from material import SYSTEM, Material
from measuring import ROOT, Spec

START = (["--help"], ["show"], ["show", "method=finetune"])


def main(revision: str, turns: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        subprocess.run(["git", "worktree", "add", "--detach", str(earlier), revision], cwd=ROOT, check=True)
        try:
            for name, one in cases(Material()):
                _print(name, *_in_turn(turns, lambda tree, one=one: one(tree), (earlier, ROOT)))
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(earlier)], cwd=ROOT, check=True)


def cases(material: Material) -> Iterator[tuple[str, Callable[[Path], float]]]:
    """Each case with the function that returns its seconds in a tree."""
    short = [material.prompt(text) for text, _ in material.test[:96]]
    listed = [material.prompt(text, material.listed()) for text, _ in material.test[:48]]
    for precision in material.precisions:
        few = precision == "float32"
        spec = {**material.spec, "precision": precision, "batch": 16}
        train = {**spec, "rows": material.training(64 if few else 160)}
        yield f"training, {precision}", lambda tree, spec=train: 1e3 / _median_rate(_task(tree, "training", spec))
        score = {**spec, "labels": material.labels}
        for name, prompts in (("scoring", short), ("scoring, labels listed", listed)):
            some = {**score, "prompts": prompts[:24] if few else prompts}
            yield f"{name}, {precision}", lambda tree, spec=some: _task(tree, "scoring", spec)["seconds_a_row"]
        write = {**spec, "new": 48, "end": material.end}
        for name, system in (("generation", SYSTEM), ("generation, shared prefix", material.listed())):
            prompts = [material.prompt(text, system) for text, _ in material.test[: 32 if few else 64]]
            one = {**write, "prompts": prompts}
            yield f"{name}, {precision}", lambda tree, spec=one: 1 / _task(tree, "generation", spec)["tokens_a_second"]
    for words in START:
        yield "stepladder " + " ".join(words), lambda tree, words=words: _command(tree, words)


def _in_turn(turns: int, one: Callable[[Path], float], trees: tuple[Path, Path]) -> tuple[list[float], list[float]]:
    found: tuple[list[float], list[float]] = ([], [])
    for turn in range(turns):
        for side in (0, 1) if turn % 2 == 0 else (1, 0):
            found[side].append(one(trees[side]))
    return found


def _print(name: str, before: list[float], now: list[float]) -> None:
    a, b = statistics.median(before), statistics.median(now)
    ratios = sorted(y / x for x, y in zip(before, now, strict=True))
    spread = f"{ratios[0]:.3f}-{ratios[-1]:.3f}"
    print(f"{name:40} {a:9.4f} s before {b:9.4f} s now, ratio {b / a:.3f} (pairs {spread})", flush=True)


def _task(tree: Path, task: str, spec: Spec) -> Spec:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(spec, file)
        file.flush()
        command = [sys.executable, str(tree / "scripts" / "benchmarks" / "ours.py"), task, file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(tree))
    if done.returncode:
        sys.exit(f"{task} failed in {tree}:\n{done.stderr[-3000:]}")
    found: Spec = json.loads(done.stdout.splitlines()[-1])
    return found


def _command(tree: Path, words: list[str]) -> float:
    """Seconds of a command, started twice: the first start fills the caches."""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            begun = time.perf_counter()
            command = [sys.executable, "-m", "stepladder", *words]
            subprocess.run(command, capture_output=True, check=True, cwd=folder, env=_environment(tree))
    return time.perf_counter() - begun


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree / "src")}


def _median_rate(run: Spec) -> float:
    return statistics.median(run["rates"])


if __name__ == "__main__":
    main(sys.argv[1], *(int(word.removeprefix("turns=")) for word in sys.argv[2:3]))
