"""Kills a run over an API with SIGKILL at random moments and resumes it: every question is asked exactly once.

    python scripts/benchmarks/api_kills.py [KILLS=20] [SEED=0]

The server counts what it answers and bills. The first budget does not suffice: the run stops before it is exceeded.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from api_server import NAME, ApiServer

PROMPT_PRICE, NEW_PRICE = 10.0, 100.0
QUESTIONS = 120
LABELS = ("billing", "card", "hours")


@dataclass(frozen=True)
class Outcome:
    """What the server counted: `kills` that hit a running command, `asked` questions, how many `twice` or more, and
    what was billed when the first budget was used up and in the end, each with its budget. `codes`: the exit codes."""

    kills: int
    asked: int
    twice: int
    billed: tuple[float, ...]
    budgets: tuple[float, ...]
    codes: tuple[int, ...]

    @property
    def sound(self) -> bool:
        """Every question once, no budget exceeded, and the first command stopped by it."""
        within = all(spent <= limit for spent, limit in zip(self.billed, self.budgets, strict=True))
        return within and not self.twice and self.codes == (2, 0)


def killed_run(folder: Path, kills: int, seed: int, questions: int = QUESTIONS) -> Outcome:
    """Run until a budget that does not suffice is used up, then with a larger one until done; `kills` kills in all."""
    draw = random.Random(seed)
    rows = [json.dumps({"text": f"question {n} of a customer", "label": LABELS[n % 3]}) for n in range(questions)]
    for name, some in (("train", rows[:9]), ("test", rows)):
        (folder / f"{name}.jsonl").write_text("\n".join(some).replace("question", f"{name} question"), encoding="utf-8")
    hit, codes, billed = 0, [], []
    budgets = (0.0006 * questions + 0.006, 1.0)
    with ApiServer("chat", seconds=0.2) as server:
        for budget, most in zip(budgets, (kills // 2, kills), strict=True):
            while True:
                process = subprocess.Popen(_command(folder, server, budget), stdout=sys.stderr)
                if hit < most and _kill(process, server, draw.uniform(0, 3.0 / (kills + 1))):
                    hit += 1
                    continue
                codes.append(process.wait())
                break
            time.sleep(0.5)  # what is in flight is finished
            billed.append((server.prompt_tokens * PROMPT_PRICE + server.new_tokens * NEW_PRICE) / 1e6)
        own = {asked: count for asked, count in server.asked.items() if "of a customer" in asked}
    return Outcome(hit, len(own), sum(c > 1 for c in own.values()), tuple(billed), budgets, tuple(codes))


def _command(folder: Path, server: ApiServer, budget: float) -> list[str]:
    return [
        *(sys.executable, "-m", "stepladder", "run", "--outputs", str(folder / "outputs")),
        *("dataset=file", f"dataset.train={folder / 'train.jsonl'}", f"dataset.test={folder / 'test.jsonl'}"),
        *("dataset.input=text", "dataset.target=label", "method=zero_shot", "decoding.max_new_tokens=6"),
        *("model=api", f"model.base_url={server.url}", f"model.name={NAME}", "model.choose=text"),
        *("model.concurrency=2", f"model.budget={budget}", "model.currency=EUR", "tracking=none"),
        *(f"model.million_prompt_tokens={PROMPT_PRICE}", f"model.million_new_tokens={NEW_PRICE}"),
    ]


def _kill(process: subprocess.Popen[bytes], server: ApiServer, seconds: float) -> bool:
    """Kill a command so many seconds after the server has answered it; false if it ends before."""
    seen = sum(server.asked.values())
    while process.poll() is None and sum(server.asked.values()) == seen:
        time.sleep(0.005)
    time.sleep(seconds)
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    return True


def main() -> None:
    kills, seed = (int(word) for word in (*sys.argv[1:], *("20", "0")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        found = killed_run(Path(folder), kills, seed)
    spent = ", then ".join(f"{b:.4f} of {limit:.4f} EUR" for b, limit in zip(found.billed, found.budgets, strict=True))
    print(
        f"{found.kills} kills: {found.asked} of {QUESTIONS} questions asked, {found.twice} of them more than once; "
        f"billed {spent}; exit codes {found.codes}"
    )
    if found.asked != QUESTIONS or not found.sound:
        sys.exit(1)


if __name__ == "__main__":
    main()
