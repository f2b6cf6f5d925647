"""Packages and hub datasets are read with their own libraries; unreachable ones are errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from stepladder.dataset.dataset import Dataset
from stepladder.dataset.sources import Hub, Package
from stepladder.errors import ConfigError, DataError

CARD = """---
configs:
- config_name: default
  data_files:
  - {split: train, path: data/train-*}
  - {split: test, path: data/test-*}
- config_name: other
  data_files:
  - {split: train, path: data/test-*}
dataset_info:
- config_name: default
  features:
  - {name: text, dtype: string}
  - name: label
    dtype: {class_label: {names: {'0': ham, '1': spam}}}
---
"""


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A directory with the layout of a dataset repository of the hub."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub")
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "repo"
    (folder / "data").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    for split, count in (("train", 30), ("test", 10)):
        rows = {"text": [f"{split} {n}" for n in range(count)], "label": [n % 2 for n in range(count)]}
        parquet.write_table(pa.table(rows), folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)


def test_a_directory_with_the_layout_of_the_hub(repo: str) -> None:
    loaded = Dataset(train="train", test="test", input="text", target="label", source=Hub(repo)).read()
    assert [e.answers[0] for e in loaded.test] == ["ham", "spam"] * 5
    assert len(loaded.train) + len(loaded.validation) == 30
    assert "data/train-00000-of-00001.parquet=sha256:" in loaded.origins["train"]
    other = Dataset(train="train", input="text", target="label", source=Hub(repo, name="other"), split={"test": 0.5})
    assert other.read().accounts.as_dict()["read"] == 10


def test_missing_splits_and_configurations(repo: str) -> None:
    for names in ({"train": "trian"}, {"train": "train", "source": Hub(repo, name="none")}):
        with pytest.raises(DataError, match="cannot be loaded") as caught:
            Dataset(**{"input": "text", "target": "label", "source": Hub(repo), **names}).read()
        assert "dataset.source.name" in caught.value.to_do


def test_an_unreachable_hub_is_an_error(tmp_path: Path) -> None:
    program = (
        "from stepladder.dataset.dataset import Dataset\n"
        "from stepladder.dataset.sources import Hub\n"
        "Dataset(train='train', input='a', target='b', source=Hub('nobody/nothing')).read()\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100)
    assert "DataError: The dataset nobody/nothing cannot be found" in done.stderr
    assert "what to do: check name, network and login" in done.stderr


def test_a_hub_without_a_name() -> None:
    with pytest.raises(ConfigError):
        Hub(" ")


FAQ = Package("zaragoza-construction-faq", "1.2.1", "716a1999dd5ad8494c6a4e47d3510f017aa767ea9e55d3b348b0ad70b0e8d3d7")


@pytest.mark.slow
def test_the_embedded_data() -> None:
    keys = {"train": "zaragoza_construction_faq/data/faq-en.jsonl", "id": "id", "source": FAQ}
    route = Dataset(input="q", target="category", **keys).read()
    assert route.accounts.as_dict()["read"] == 503
    assert len(route.task.answer.labels) == 39
    assert 140 <= len(route.test) <= 160
    assert {e.answers for e in route.test} == {e.answers for e in route.train}
    answer = Dataset(input="q", target="a", task={"kind": "text"}, **keys).read()
    assert 140 <= len(answer.test) <= 160
    asked = set()
    for layout in ("alpaca", "sharegpt"):
        train = f"zaragoza_construction_faq/data/faq-en-{layout}.jsonl"
        loaded = Dataset(train=train, layout=layout, source=FAQ).read()
        assert loaded.accounts.as_dict()["kept"] == 503
        asked.add(frozenset(e.question.text for e in (*loaded.train, *loaded.validation, *loaded.test)))
    assert len(asked) == 1


@pytest.mark.slow
def test_a_file_that_is_not_in_the_package() -> None:
    with pytest.raises(DataError, match="The package zaragoza-construction-faq has no file data"):
        Dataset(train="data.csv", input="q", target="a", source=FAQ).read()
