"""Hostile and random input: generated command lines, configurations, data, checkpoints, models and stores.

    scripts/bench fuzz [cases=2000] [seed=0] [kinds=config,data] [case=KIND:NUMBER]

Of every case: exit code 0 or 2 (3 for `reproduce --verify`), no traceback, a message where there is 2, one JSON object
where --json asks for it, no folder half-written, no finished folder changed, nothing written outside the outputs, no
code of a configuration run, and an end. Cases run in a process a kind; one that dies or hangs is told with its case,
and another goes on behind it. `case=` runs one case alone.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import queue
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SHARES = {"config": 30, "conf folder": 12, "data": 30, "store": 18, "checkpoint": 3, "model": 7}
"""Of a hundred cases, how many are of each kind."""
WATCHDOG = 180.0
"""Seconds without a word from a process; the slowest case takes some."""
MEMORY = 14 * 2**30
"""Bytes of addresses that a process may have: what asks for more is told so, and takes no other process with it."""


@dataclass
class Told:
    """What became of the cases of one kind."""

    cases: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)


def strategy(kind: str, root: Path) -> tuple[Any, Path | None]:
    """What draws the cases of a kind, and the folder that they are made from."""
    from fuzzing import configs, originals, stores, tables, weights

    if kind == "config":
        return configs.command_lines(originals.keys()), None
    if kind == "conf folder":
        return configs.folders(originals.keys(), originals.conf()), None
    if kind == "data":
        return tables.tables(), None
    draw = {"store": stores.stores, "checkpoint": weights.checkpoints, "model": weights.models}[kind]
    folder = originals.originals(root / "originals", kind)
    return draw(stores.reader(folder)), folder


def drawn(cases: Any, seed: int, kind: str, number: int) -> Any:
    """One case of its own entropy: Hypothesis begins with the simplest, and what chance gives is the second."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import seed as seeded

    found: list[Any] = []

    @seeded(int.from_bytes(hashlib.sha256(f"{seed} {kind} {number}".encode()).digest()[:8]))
    @settings(
        max_examples=2, phases=[Phase.generate], database=None, deadline=None, suppress_health_check=[*HealthCheck]
    )
    @given(cases)
    def keep(case: Any) -> None:
        found.append(case)

    keep()
    return found[-1]


def worker(kind: str, count: int, seed: int, first: int, root: Path) -> None:
    """Run the cases from `first` on, and tell each on a line of its own."""
    from fuzzing import watched

    from stepladder.engine.fast.kernels import kernels

    kernels()  # the compiler is begun before anybody watches
    tell, sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stderr
    cases, folder = strategy(kind, root)
    sys.addaudithook(watched.GUARD)
    for number in range(first, count):
        case = drawn(cases, seed, kind, number)
        print(json.dumps({"begun": number, "case": case.told()}), file=tell, flush=True)
        found = watched.tried(case, root, folder)
        told = {"number": number, "codes": found.codes, "faults": found.faults, "messages": found.messages}
        print(json.dumps({**told, "seconds": round(found.seconds, 3)}), file=tell, flush=True)
    print(json.dumps({"over": count}), file=tell, flush=True)


def run(kind: str, count: int, seed: int, root: Path, first: int = 0) -> Told:
    """All cases of a kind; a process that dies or says nothing for long is told and followed by another."""
    told = Told()
    while first < count:
        begun, over = first, False
        process, lines = _started(kind, count, seed, first, root)
        case, said = "", time.monotonic()
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                if time.monotonic() - said > WATCHDOG:
                    process.send_signal(signal.SIGABRT)
                    said = time.monotonic() + WATCHDOG
                continue
            if line is None:
                break
            said = time.monotonic()
            found = json.loads(line)
            if "begun" in found:
                begun, case = found["begun"], found["case"]
            elif "over" in found:
                over = True
            else:
                _count(told, kind, found, case)
        code = process.wait()
        if over:
            break
        log = (root / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
        print(f"  {kind} {begun}: the process ended with {code}", file=sys.stderr, flush=True)
        told.cases += 1
        told.faults.append(
            {"case": f"{kind}:{begun}", "faults": [f"the process ended with {code}: {log}"], "told": case}
        )
        if not case:
            break
        first = begun + 1
    return told


def _count(told: Told, kind: str, found: Mapping[str, Any], case: str) -> None:
    told.cases += 1
    told.codes.update(str(code) for code in found["codes"])
    told.seconds += found["seconds"]
    told.slowest = max(told.slowest, (found["seconds"], found["number"]))
    told.messages.update(re.sub(r"\d+|'[^']*'", "_", text)[:90] for text in found["messages"])
    if found["faults"]:
        told.faults.append({"case": f"{kind}:{found['number']}", "faults": found["faults"], "told": case})
        print(f"  {kind}:{found['number']} {found['faults'][0][:400]}", file=sys.stderr, flush=True)


def _started(kind: str, count: int, seed: int, first: int, root: Path) -> tuple[Any, queue.Queue[str | None]]:
    places = {"STEPLADDER_CACHE": root / "cache", "HOME": root / "home", "TMPDIR": root / "temporary"}
    places |= {
        "TORCHINDUCTOR_CACHE_DIR": root / "temporary" / "torch",
        "TRITON_CACHE_DIR": root / "temporary" / "triton",
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    around = {**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONDONTWRITEBYTECODE": "1"}
    around |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    words = ["worker", kind, str(count), str(seed), str(first), str(root)]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=log, env=around, text=True
        )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return process, lines


def table(found: Mapping[str, Told]) -> Iterator[str]:
    row = "{:<12} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8}"
    yield row.format("kind", "cases", "exit 0", "exit 2", "exit 3", "faults", "seconds", "slowest")
    for kind, told in found.items():
        codes = [told.codes[code] for code in ("0", "2", "3")]
        yield row.format(kind, told.cases, *codes, len(told.faults), f"{told.seconds:.0f}", f"{told.slowest[0]:.1f}")


def main(words: list[str]) -> int:
    asked = dict(word.split("=", 1) for word in words)
    seed, cases = int(asked.get("seed", 0)), int(asked.get("cases", 2000))
    kinds = asked["kinds"].split(",") if "kinds" in asked else list(SHARES)
    counts = {kind: -(-cases * SHARES[kind] // sum(SHARES[k] for k in kinds)) for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        if "case" in asked:
            kind, _, number = asked["case"].partition(":")
            told = run(kind, int(number) + 1, seed, Path(folder), int(number))
            print(json.dumps([told.codes, told.messages, told.faults], indent=1))
            return bool(told.faults)
        found = {kind: run(kind, count, seed, Path(folder)) for kind, count in counts.items()}
    for line in table(found):
        print(line, file=sys.stderr)
    faults = [fault for told in found.values() for fault in told.faults]
    for fault in faults:
        print("\n".join([f"\n{fault['case']} (seed {seed})", *fault["faults"], fault["told"]]), file=sys.stderr)
    kept = {
        k: {
            "cases": t.cases,
            "codes": t.codes,
            "faults": len(t.faults),
            "seconds": round(t.seconds),
            "refused": t.messages.most_common(25),
        }
        for k, t in found.items()
    }
    print(
        json.dumps({"seed": seed, "cases": sum(t.cases for t in found.values()), "faults": len(faults), "kinds": kept})
    )
    return bool(faults)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        faulthandler.enable()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        own, count_, seed_, first_, root_ = sys.argv[2:]
        worker(own, int(count_), int(seed_), int(first_), Path(root_))
    else:
        sys.exit(main(sys.argv[1:]))
