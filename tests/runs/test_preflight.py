"""The gate of whole runs: by the command, on planted faults in data, prompts and models."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from stepladder.cli.entry import main
from stepladder.io import files
from stepladder.models import toy as toy_model
from stepladder.reports import comparison

TEXTS = [
    f"Who can help me with {thing} in house {number}?" for number in range(15) for thing in ("the lock", "the rent")
]


def table(path: Path, rows) -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows])
    return path


@pytest.fixture
def rows(tmp_path):
    """Words for a dataset of which one test row is among the training rows."""
    labelled = [(text, "keys" if "lock" in text else "rent") for text in TEXTS]
    train = table(tmp_path / "train.csv", labelled[:21])
    test = table(tmp_path / "test.csv", labelled[20:])
    return [
        "experiment=first_look", "dataset=file", f"dataset.train={train}", f"dataset.test={test}",
        "dataset.input=text", "dataset.target=label", "dataset.on_overlap=keep",
    ]  # fmt: skip


def asked(capsys, verb, *words):
    code = main([verb, *words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def told(found, name):
    return [each["told"] for each in found["gate"] if each["name"] == name]


@pytest.mark.parametrize("more", [["method=few_shot"], ["method=rag"], ["method=finetune_rag"]])
@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_test_row_among_what_is_shown(verb, more, rows, capsys, tmp_path):
    outputs = ["--outputs", str(tmp_path / "o")]
    code, _, error = asked(capsys, verb, *rows, *more, *outputs)
    assert code == 2
    assert "1 of 10 test rows are among the demonstrations or in the retrieval index (the first: " in error
    assert "preflight.shown" in error
    assert not list((tmp_path / "o").glob("fits/*"))


def test_one_that_is_learnt_from_is_told_and_can_stop(rows, capsys, tmp_path):
    outputs = ["--outputs", str(tmp_path / "o")]
    code, found, error = asked(capsys, "run", *rows, "method=linear", *outputs)
    assert code == 0
    assert told(found, "overlap")[0].startswith("1 of 10 test rows are among the training rows")
    assert "preflight: 1 of 10 test rows" in error
    code, _, error = asked(capsys, "run", *rows, "method=majority", "preflight.overlap=0.05", *outputs)
    assert (code, "preflight.overlap" in error) == (2, True)


def test_a_passage_that_tells_a_test_row_and_its_answer(rows, capsys, tmp_path):
    passages = [{"text": "Nothing of that kind."}, {"text": f"You asked: {TEXTS[25]}\n\nThat is about rent."}]
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    words = [*rows[:-1], f"dataset.corpus={corpus}", "method=rag", "--outputs", str(tmp_path / "o")]
    code, _, error = asked(capsys, "check", *words)
    assert (code, "1 of 10 test rows are among the demonstrations" in error) == (2, True)
    corpus.write_text(json.dumps({"text": f"You asked: {TEXTS[25]}"}) + "\n")
    assert asked(capsys, "check", *words)[0] == 0


def test_rows_that_are_cut_or_left_out(rows, capsys, tmp_path):
    words = [*rows, "method=finetune_rag", "preflight.shown=null", "retrieval.k=1", "--outputs", str(tmp_path / "o")]
    short = [*words, "model.window=110", "prompt.on_overflow=drop_context"]
    code, _, error = asked(capsys, "check", *short)
    assert (code, "preflight.lost" in error) == (2, True)
    assert "0 of 18 training rows are longer than the context window and left out; 18 have fewer" in error
    code, found, _ = asked(capsys, "check", *short, "preflight.lost=null")
    assert (code, [each["odd"] for each in found["gate"] if each["name"] == "lost"]) == (0, [False, True])


def test_rows_that_are_rejected(capsys, tmp_path):
    bad = table(
        tmp_path / "bad.csv",
        [(text if at % 3 else "", "keys" if "lock" in text else "rent") for at, text in enumerate(TEXTS)],
    )
    words = ["experiment=first_look", "dataset=file", f"dataset.train={bad}", "dataset.input=text"]
    words += ["dataset.target=label", "dataset.on_bad_row=skip", "--outputs", str(tmp_path / "o")]
    code, found, _ = asked(capsys, "check", *words, "method=majority")
    assert (code, told(found, "lost")[0].startswith("10 of 30 rows read are rejected (10: ")) == (0, True)
    code, _, error = asked(capsys, "check", *words, "method=majority", "preflight.lost=0.3")
    assert (code, "preflight.lost" in error) == (2, True)


def test_rows_that_are_rejected_after_the_run_was_stored(capsys, tmp_path):
    pairs = [(text, "keys" if "lock" in text else "rent") for text in TEXTS]
    file = table(tmp_path / "rows.csv", pairs)
    words = ["run", "experiment=first_look", "dataset=file", f"dataset.train={file}", "dataset.input=text"]
    words += ["dataset.target=label", "dataset.on_bad_row=skip", "method=majority", "--outputs", str(tmp_path / "o")]
    assert told(asked(capsys, *words)[1], "lost") == ["0 of 30 rows read are rejected"]
    table(tmp_path / "rows.csv", [*pairs, ("", "rent")])
    code, found, error = asked(capsys, *words)
    assert (code, found["reused"]["score"]) == (0, True)
    assert told(found, "lost")[0].startswith("1 of 31 rows read are rejected (1: ")
    assert "preflight: 1 of 31 rows" in error
    code, _, error = asked(capsys, *words, "preflight.lost=0.01")
    assert (code, "preflight.lost" in error) == (2, True)


def test_another_template_at_prediction(rows, capsys, tmp_path, monkeypatch):
    words = [*rows, "method=finetune", "--outputs", str(tmp_path / "o")]
    code, found, _ = asked(capsys, "run", *words)
    assert code == 0
    new = table(tmp_path / "new.csv", [("Where is the lock?", "")])
    assert asked(capsys, "predict", found["folders"]["fit"], str(new))[0] == 0
    other = toy_model._TEMPLATE.replace("<|{{ message.role }}|>", "<|{{ message.role }}|>\n")
    monkeypatch.setattr(toy_model, "_TEMPLATE", other)
    code, _, error = asked(capsys, "predict", found["folders"]["fit"], str(new))
    assert (code, "chat template or the tokenizer is not the one" in error) == (2, True)


def test_prompts_that_were_kept_in_other_tokens(rows, capsys, tmp_path):
    words = [*rows, "method=finetune", "--outputs", str(tmp_path / "o")]
    assert asked(capsys, "run", *words)[0] == 0
    for file in (tmp_path / "o" / "indexes").glob("tokens-*/ids.npy"):
        ids = np.load(file)
        ids[5] = ids[5] + 1
        np.save(file, ids)
        hashes = file.with_name(files.HASHES)
        told = json.loads(hashes.read_text())
        hashes.write_text(json.dumps({**told, file.name: files.content_hash(file)}))  # made so, not broken
    code, _, error = asked(capsys, "run", *words, "training.epochs=2")
    assert (code, "preflight.template" in error) == (2, True)
    assert asked(capsys, "run", *words, "training.epochs=2", "preflight=warn")[0] == 0


def test_what_was_found_stands_among_the_facts_and_in_the_report(rows, capsys, tmp_path):
    words = [*rows, "method=majority,finetune", "--outputs", str(tmp_path / "o")]
    code, found, _ = asked(capsys, "compare", *words)
    assert code == 0
    names = [each["name"] for each in found["rows"][1]["gate"]]
    assert names == ["lost", "overlap", "shown", "lost", "template", "supervised", "ended", "apart", "touched"]
    assert "gate" not in found["rows"][1]["costs"]
    facts = json.loads((Path(found["rows"][1]["folders"]["fit"]) / "done.json").read_text())["facts"]
    assert [each["name"] for each in facts["gate"]] == names[3:]
    for report in (Path(found["report"]), Path(found["report"]).with_name("report.md")):
        assert "of the answers are supervised up to an end token" in report.read_text()
    # A stored fit is asked what it was found to be, and nothing is loaded for it.
    code, again, _ = asked(capsys, "check", *rows, "method=finetune", "--outputs", str(tmp_path / "o"))
    assert (code, [each["name"] for each in again["gate"]]) == (0, names)
    assert comparison.sections.preflight(SimpleNamespace(rows=[SimpleNamespace(name="x", preflight=())])) is None


def test_a_rehearsal_keeps_nothing_and_no_key_knows_the_gate(rows, capsys, tmp_path):
    outputs = ["--outputs", str(tmp_path / "o")]
    code, found, _ = asked(capsys, "check", *rows, "method=finetune", *outputs)
    assert (code, len(found["gate"]), (tmp_path / "o").exists()) == (0, 9, False)
    keys = [
        asked(capsys, "show", *rows, "method=finetune", "--keys", *more, *outputs)[1]["keys"]
        for more in ([], ["preflight=warn"])
    ]
    assert keys[0] == keys[1]
