"""Writes additional data for the evaluation suites into a folder: every FAQ answer as a passage (corpus.jsonl), and
everyday questions that belong to no topic (out_of_scope.jsonl)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stepladder.config.build import build
from stepladder.config.compose import compose
from stepladder.dataset.formats import Dialect
from stepladder.dataset.general import General


def main(folder: Path) -> None:
    node = compose(["dataset=faq_answer"]).config["dataset"]
    dataset = build({"dataset": node})["dataset"].object
    answers = dataset.source.table(dataset.train, Dialect()).records
    passages = [{"id": row.values["id"], "text": row.values["a"]} for row in answers]
    strange = [
        {"id": f"general-{n}", "q": row.values["question"]}
        for n, row in enumerate(General().table("general", Dialect()).records)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("corpus", passages), ("out_of_scope", strange)):
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
