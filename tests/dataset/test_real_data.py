"""Public datasets, read from the directory in STEPLADDER_DATA."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from stepladder.dataset.dataset import Dataset
from stepladder.errors import DataError
from stepladder.types import Choice, Json


def test_banking77(data_folder: Path) -> None:
    folder = data_folder / "banking77"
    dataset = Dataset(train=str(folder / "train.csv"), test=str(folder / "test.csv"), input="text", target="category")
    start = time.process_time()
    loaded = dataset.read()
    assert time.process_time() - start < 3
    accounts = loaded.accounts.as_dict()
    assert accounts["read"] == accounts["kept"] + accounts["rejected"] == 13_083
    assert accounts["rejected"] == accounts["overlap"] == 7
    assert len(loaded.test) == 3_080
    assert isinstance(loaded.task.answer, Choice)
    assert len(loaded.task.answer.labels) == 77
    asked = [{e.question.text for e in part} for part in (loaded.train, loaded.validation, loaded.test)]
    assert not asked[0] & asked[1]
    assert not (asked[0] | asked[1]) & asked[2]
    with pytest.raises(DataError, match="7 training or validation rows"):
        replace(dataset, on_overlap="stop").read()


def test_sms_spam(data_folder: Path) -> None:
    path = str(data_folder / "sms_spam" / "SMSSpamCollection.tsv")
    keys = {"train": path, "header": ["label", "text"], "input": "text", "target": "label"}
    loaded = Dataset(**keys, quote="none").read()
    assert loaded.accounts.as_dict()["read"] == loaded.accounts.as_dict()["kept"] == 5_574
    every = [*loaded.train, *loaded.validation, *loaded.test]
    assert sum(e.answers == ("ham",) for e in every) == 4_827
    asked = [
        {" ".join(e.question.text.split()) for e in part} for part in (loaded.train, loaded.validation, loaded.test)
    ]
    assert sum(map(len, asked)) == len(set.union(*asked))
    with pytest.raises(DataError, match="quote") as caught:
        Dataset(**keys).read()
    assert "dataset.quote=none" in caught.value.to_do


def test_xquad(data_folder: Path) -> None:
    loaded = Dataset(train=str(data_folder / "xquad_en" / "xquad.en.json"), layout="squad", id="id").read()
    assert loaded.accounts.as_dict()["read"] == loaded.accounts.as_dict()["kept"] == 1_190
    assert len(loaded.corpus) == 240
    texts = {passage.id: passage.text for passage in loaded.corpus}
    for example in loaded.test:
        assert example.answers[0] in texts[example.gold[0]]
    groups = [{e.question.group for e in part} for part in (loaded.train, loaded.validation, loaded.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 48


def test_restaurant8k(data_folder: Path) -> None:
    folder = data_folder / "restaurant8k"
    loaded = Dataset(
        train=str(folder / "train.jsonl"),
        test=str(folder / "test.jsonl"),
        input="{text} ({requested})",
        target="slots",
        id="id",
        task={"kind": "json"},
    ).read()
    assert loaded.accounts.as_dict()["read"] == 2_049 + 3_731
    assert len(loaded.test) == 3_731
    assert loaded.test[0].question.text == "13 (time)"
    assert isinstance(loaded.task.answer, Json)
    names = {"people", "date", "time", "first_name", "last_name"}
    assert set(loaded.task.answer.schema["properties"]) == names
    assert loaded.task.answer.schema["required"] == []
