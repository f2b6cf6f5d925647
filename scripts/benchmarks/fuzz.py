"""Fuzzing: generated command lines, configurations, data, checkpoints, models and stores, most with one fault.

    scripts/bench fuzz [cases=2000] [seed=0] [kinds=config,data] [case=KIND:NUMBER]

Checks of every case: exit code 0 or 2 (3 for `reproduce --verify`), no traceback, a message with exit code 2, one JSON
object with --json, no partial folder, no finished folder changed, nothing written outside the outputs, no code of the
input run, and termination. There is one process for each kind of case; if it dies or hangs, its case is reported and a
new process continues. `case=` runs a single case.
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
"""Percentage of cases of each kind."""
WATCHDOG = 180.0
"""Seconds without output after which a process counts as hanging."""
MEMORY = 14 * 2**30
"""Bytes of address space of a process: a case that allocates more gets a MemoryError and harms no other process."""


@dataclass
class Outcomes:
    """The results of all cases of one kind."""

    cases: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    messages: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: tuple[float, int] = (0.0, 0)


def strategy(kind: str, root: Path) -> tuple[Any, Path | None]:
    """The Hypothesis strategy for a kind of case, and the folder with the valid inputs that it modifies."""
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
    """One case with its own seed. The second example is used, because Hypothesis starts with the simplest one."""
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
    """Run the cases from `first` on and print one line of JSON for each."""
    from fuzzing import watched

    from stepladder.engine.select import fast_engine

    if fast_engine() is not None:
        from stepladder.engine.fast.kernels import kernels

        kernels()  # compiles before the audit hook is active
    results, sys.stdout = os.fdopen(os.dup(1), "w", encoding="utf-8"), sys.stderr
    cases, folder = strategy(kind, root)
    sys.addaudithook(watched.GUARD)
    for number in range(first, count):
        case = drawn(cases, seed, kind, number)
        print(json.dumps({"begun": number, "case": case.described()}), file=results, flush=True)
        found = watched.tried(case, root, folder)
        result = {"number": number, "codes": found.codes, "faults": found.faults, "messages": found.messages}
        print(json.dumps({**result, "seconds": round(found.seconds, 3)}), file=results, flush=True)
    print(json.dumps({"over": count}), file=results, flush=True)


def run(kind: str, count: int, seed: int, root: Path, first: int = 0) -> Outcomes:
    """Run all cases of a kind. A process that dies or hangs is reported and replaced by a new one."""
    outcomes = Outcomes()
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
                _count(outcomes, kind, found, case)
        code = process.wait()
        if over:
            break
        log = (root / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
        print(f"  {kind} {begun}: the process ended with {code}", file=sys.stderr, flush=True)
        outcomes.cases += 1
        outcomes.faults.append(
            {"case": f"{kind}:{begun}", "faults": [f"the process ended with {code}: {log}"], "input": case}
        )
        if not case:
            break
        first = begun + 1
    return outcomes


def _count(outcomes: Outcomes, kind: str, found: Mapping[str, Any], case: str) -> None:
    outcomes.cases += 1
    outcomes.codes.update(str(code) for code in found["codes"])
    outcomes.seconds += found["seconds"]
    outcomes.slowest = max(outcomes.slowest, (found["seconds"], found["number"]))
    outcomes.messages.update(re.sub(r"\d+|'[^']*'", "_", text)[:90] for text in found["messages"])
    if found["faults"]:
        outcomes.faults.append({"case": f"{kind}:{found['number']}", "faults": found["faults"], "input": case})
        print(f"  {kind}:{found['number']} {found['faults'][0][:400]}", file=sys.stderr, flush=True)


def _started(kind: str, count: int, seed: int, first: int, root: Path) -> tuple[Any, queue.Queue[str | None]]:
    places = {"STEPLADDER_CACHE": root / "cache", "HOME": root / "home", "TMPDIR": root / "temporary"}
    places |= {
        "TORCHINDUCTOR_CACHE_DIR": root / "temporary" / "torch",
        "TRITON_CACHE_DIR": root / "temporary" / "triton",
    }
    for place in places.values():
        place.mkdir(parents=True, exist_ok=True)
    context = {**os.environ, **{name: str(place) for name, place in places.items()}, "PYTHONDONTWRITEBYTECODE": "1"}
    context |= {"HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    words = ["worker", kind, str(count), str(seed), str(first), str(root)]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, *words], stdout=subprocess.PIPE, stderr=log, env=context, text=True
        )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return process, lines


def table(found: Mapping[str, Outcomes]) -> Iterator[str]:
    row = "{:<12} {:>6} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8}"
    yield row.format("kind", "cases", "exit 0", "exit 2", "exit 3", "faults", "seconds", "slowest")
    for kind, outcomes in found.items():
        codes = [outcomes.codes[code] for code in ("0", "2", "3")]
        yield row.format(
            kind, outcomes.cases, *codes, len(outcomes.faults), f"{outcomes.seconds:.0f}", f"{outcomes.slowest[0]:.1f}"
        )


def main(words: list[str]) -> int:
    asked = dict(word.split("=", 1) for word in words)
    seed, cases = int(asked.get("seed", 0)), int(asked.get("cases", 2000))
    kinds = asked["kinds"].split(",") if "kinds" in asked else list(SHARES)
    counts = {kind: -(-cases * SHARES[kind] // sum(SHARES[k] for k in kinds)) for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        if "case" in asked:
            kind, _, number = asked["case"].partition(":")
            outcomes = run(kind, int(number) + 1, seed, Path(folder), int(number))
            print(json.dumps([outcomes.codes, outcomes.messages, outcomes.faults], indent=1))
            return bool(outcomes.faults)
        found = {kind: run(kind, count, seed, Path(folder)) for kind, count in counts.items()}
    for line in table(found):
        print(line, file=sys.stderr)
    faults = [fault for outcomes in found.values() for fault in outcomes.faults]
    for fault in faults:
        print("\n".join([f"\n{fault['case']} (seed {seed})", *fault["faults"], fault["input"]]), file=sys.stderr)
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
