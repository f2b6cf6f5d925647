"""Keys of typical experiments, pinned: code may move, be renamed or be rewritten, and every stored result stays found.

A key that changes makes stored results of users unfindable. Where that is intended, raise `CODE_VERSION` and say so in
the changelog; `python tests/test_golden_keys.py` prints the new table.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from stepladder.cli.entry import main

ROWS = "".join(
    json.dumps({"text": f"{name} pays {amount} euros", "answer": json.dumps({"name": name, "amount": amount})}) + "\n"
    for amount in range(20)
    for name in ("Ada", "Grace", "Edsger")
)
"""Structured extraction: one JSON object a row."""

EXPERIMENTS: dict[str, Sequence[str]] = {
    "majority": ["method=majority", "dataset=toy"],
    "linear": ["method=linear", "dataset=faq_route"],
    "embedding": ["method=embedding", "dataset=faq_route"],
    "encoder": ["method=encoder", "dataset=toy", "embedder=toy", "method.epochs=2"],
    "zero_shot": ["method=zero_shot", "model=smollm2_135m", "dataset=faq_route"],
    "structured": ["method=structured", "model=toy", "dataset=toy", "decoding=greedy"],
    "few_shot": ["method=few_shot", "model=toy", "dataset=toy", "demonstrations=random", "seed=3"],
    "rag": ["method=rag", "model=toy", "dataset=faq_answer", "retrieval=dense", "evaluation=[auto,format]"],
    "workflow": ["method=workflow", "model=toy", "dataset=toy", "embedder=toy", "workflow.shortlist.k=2"],
    "finetune": ["method=finetune", "model=toy", "dataset=toy", "adapter.r=4", "training.epochs=2"],
    "full": ["method=finetune_rag", "model=toy", "dataset=faq_route", "adapter=full", "evaluation=[auto,calibration]"],
    "extraction": ["method=zero_shot", "model=toy", "dataset=file", "dataset.train=rows.jsonl", "dataset.input=text",
                   "dataset.target=answer", "dataset.task.kind=json"],
}  # fmt: skip

KEYS: dict[str, dict[str, str]] = {
    "majority": {
        "fit": "b06ef7b675c469467921dd145addabf1",
        "predict": "f3e1d0ba28328d3b525a7bbacad58051",
        "score": "9398f86bc55a5b455edf5d1caaccf4ac",
    },
    "linear": {
        "fit": "4ea7eee153594d7011e115dde8086a87",
        "predict": "45b60b49e3341ea494eca41175c8af26",
        "score": "02db3ce59fbf08c1c5ef058324fa0809",
    },
    "embedding": {
        "fit": "3ff32e3c7d1e91e0e28fded0f4ba1767",
        "predict": "b038a6357d7a6db714904553644756d5",
        "score": "74c132e4fba81791c980b6816ec4e526",
    },
    "encoder": {
        "fit": "8c532b348fdc7afcf840b1e13469c836",
        "predict": "c0135a23fe7f02980865ad976b987e86",
        "score": "f0f4a01db8527f053560a2feab17c80c",
    },
    "zero_shot": {
        "fit": "cba59c17eaa1d13c8bbb0bac15f1495c",
        "predict": "00ec9719c7cc678bf554f5776c75a67b",
        "score": "610797f13b1930e106ae7973e9e42be8",
    },
    "structured": {
        "fit": "fa0cf1b4cf735e4a8bb459cc5adf0a36",
        "predict": "097865de5b0bf0e9ee7105ca20b0f896",
        "score": "d6fb5a4668f07949e0a9ccf425bef14e",
    },
    "few_shot": {
        "fit": "166fe29b8669903b94aa830f5b8f3b3e",
        "predict": "eac9dd7dde7190f240720838eceac1a3",
        "score": "1da4baf07eafe8e92a1657febdf93dbd",
    },
    "rag": {
        "fit": "d38ba288f3e3c5bb3869ed4c4ba74383",
        "predict": "edad50a67d25779b35c0615dbc170999",
        "score": "0279b873a4d8c59ac7268f65c9b52869",
    },
    "workflow": {
        "fit": "a62fe24a2a1f64063f709665544f8b68",
        "predict": "b7c6df11307ecad38400af4bae251a91",
        "score": "c141a46662f0c94c30a9e4cbbb2f962a",
    },
    "finetune": {
        "fit": "d5532af33d5c7fb80c6d87ae71bddc18",
        "predict": "1d000fffd7a35f29177808592396f33f",
        "score": "52c035d5515e511d93d9ea0679044c52",
    },
    "full": {
        "fit": "51f7a00593d14bb37a41d7b47ee65e2e",
        "predict": "18ff23a16bb2da2eac45f8dddcc8aedb",
        "score": "b8dbc4acf6655606f4784c6ccfbaff2e",
    },
    "extraction": {
        "fit": "5514ca8aa327f68af21cdf3e2dea5db2",
        "predict": "bee3a6711456bf8314424ee195528b28",
        "score": "513ee85b03df75817ef6b6604f934f5a",
    },
}


def keys(words: Sequence[str]) -> dict[str, str]:
    """The keys of the three stages, by `stepladder show --keys` in a folder that has rows.jsonl."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["show", "--keys", "--json", "tracking=none", *words]) == 0
    return {stage: found["key"] for stage, found in json.loads(printed.getvalue())["keys"].items()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_keys_of_an_experiment_stay(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.jsonl").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert keys(EXPERIMENTS[name]) == KEYS[name]


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        Path("rows.jsonl").write_text(ROWS, encoding="utf-8")
        print(json.dumps({name: keys(words) for name, words in EXPERIMENTS.items()}, indent=4))
