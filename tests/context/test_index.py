import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pytest
from numpy.typing import NDArray

from stepladder.context.index import FusedIndex, VectorIndex, WordIndex, _best
from stepladder.models.toy import ToyEmbedder
from stepladder.resources import Resources
from stepladder.words import lowered, search_terms

TEXTS = ["red apple tree", "green apple", "apple apple pie with much sugar", "a blue car"]


class Counting:
    """A slow embedder that counts the texts that it gets."""

    def __init__(self, width: int = 64, seconds: float = 0.0) -> None:
        self.texts, self._toy, self._seconds = 0, ToyEmbedder(width), seconds

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts += len(texts)
        time.sleep(self._seconds)
        return self._toy.embed(texts)

    def fingerprint(self) -> Mapping[str, Any]:
        return self._toy.fingerprint()


def words(texts: Sequence[str] = TEXTS, shared: Path | None = None) -> WordIndex:
    return WordIndex(texts, None, 1.5, 0.75, Resources(shared=shared))


def test_scores_are_lucene_s_bm25() -> None:
    lengths = [len(text.split()) for text in TEXTS]
    mean = sum(lengths) / len(lengths)
    idf = math.log(1 + (4 - 3 + 0.5) / (3 + 0.5))  # "apple" is in three of four texts
    expected = []
    for text, length in zip(TEXTS, lengths, strict=True):
        count = text.split().count("apple")
        expected.append(idf * count / (count + 1.5 * (1 - 0.75 + 0.75 * length / mean)))
    order = sorted((place for place in range(4) if expected[place]), key=lambda place: -expected[place])
    assert words().search(["apple"], 4, [()]) == [order]


def test_texts_without_words_are_accepted() -> None:
    assert words(["", "?!", "..."]).search(["apple", ""], 2, [(), ()]) == [[], []]
    assert words(["", "apple"]).search(["apple"], 2, [()]) == [[1]]


@pytest.mark.parametrize("length", [1, 5, 128, 129, 3000])
@pytest.mark.parametrize("levels", [1, 4, 10_000])
@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_best_are_those_of_a_full_sort_with_ties_by_position(length: int, levels: int, k: int) -> None:
    scores = np.random.default_rng(0).integers(0, levels, length).astype(np.float32)
    assert _best(scores, k) == sorted(range(length), key=lambda place: (-scores[place], place))[:k]


@pytest.mark.parametrize("make", [words, lambda: VectorIndex(TEXTS, ToyEmbedder(), Resources())])
def test_excluded_texts_are_not_found_and_do_not_count_against_k(make: Any) -> None:
    (found,) = make().search(["apple tree"], 2, [()])
    (others,) = make().search(["apple tree"], 2, [found[:1]])
    assert found[0] not in others
    assert len(others) == 2


def test_an_index_is_built_once_per_set_of_texts(tmp_path: Path) -> None:
    embedder, resources = Counting(), Resources(shared=tmp_path / "indexes")
    first = VectorIndex(TEXTS, embedder, resources).search(["an apple"], 4, [()])
    made = embedder.texts
    assert VectorIndex(TEXTS, embedder, resources).search(["an apple"], 4, [()]) == first
    assert embedder.texts == made + 1  # the query alone
    VectorIndex([*TEXTS, "one more"], embedder, resources)
    assert embedder.texts == made + 1 + 5
    VectorIndex(TEXTS, Counting(width=32), resources)
    assert len([folder for folder in (tmp_path / "indexes").iterdir() if folder.is_dir()]) == 3


def test_the_indexed_texts_themselves_are_not_embedded_again() -> None:
    embedder = Counting()
    VectorIndex(TEXTS, embedder, Resources()).search(TEXTS, 2, [()] * 4)
    assert embedder.texts == 4


def test_a_cached_word_index_gives_the_same_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = ["apple pie", "blue", "zebra"]
    fresh = words(shared=tmp_path).search(queries, 4, [()] * 3)
    assert words().search(queries, 4, [()] * 3) == fresh
    monkeypatch.setattr(WordIndex, "_make", None)  # whoever makes one now fails
    assert words(shared=tmp_path).search(queries, 4, [()] * 3) == fresh


def test_a_removed_index_is_made_again(tmp_path: Path) -> None:
    fresh = words(shared=tmp_path).search(["apple"], 4, [()])
    for folder in tmp_path.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder)
    assert words(shared=tmp_path).search(["apple"], 4, [()]) == fresh


def test_the_same_index_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        WordIndex(TEXTS, "en", 1.5, 0.75, Resources(shared=tmp_path / name))
    one, two = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_concurrent_processes_build_one_index(tmp_path: Path) -> None:
    embedder = Counting(seconds=0.1)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: VectorIndex(TEXTS, embedder, Resources(shared=tmp_path)), range(8)))
    assert embedder.texts == len(TEXTS)


def test_a_failure_leaves_no_partial_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(np, "save", full_disk)
        with pytest.raises(OSError, match="No space"):
            VectorIndex(TEXTS, ToyEmbedder(), Resources(shared=tmp_path))
    assert not [folder for folder in tmp_path.iterdir() if folder.is_dir()]
    assert len(VectorIndex(TEXTS, ToyEmbedder(), Resources(shared=tmp_path)).search(["apple"], 2, [()])[0]) == 2


def test_fusion_adds_reciprocal_ranks() -> None:
    class Fixed:
        def __init__(self, ranking: list[int]) -> None:
            self._ranking = ranking

        def search(self, queries: Sequence[str], k: int, without: Any) -> list[list[int]]:
            return [self._ranking[:k] for _ in queries]

    # 7: 1/61 + 1/63; 3: 1/62 + 1/61; 5: 1/63; 9: 1/62
    assert FusedIndex(Fixed([7, 3, 5]), Fixed([3, 9, 7])).search(["?"], 4, [()]) == [[3, 7, 9, 5]]


SCRIPTS = {
    "zh": ["床前明月光", "疑是地上霜", "举头望明月", "低头思故乡"],
    "ja": ["古池や蛙飛びこむ", "閑さや岩にしみ入る", "夏草や兵どもが", "コンピューターの歴史"],
    "th": ["กรุงเทพมหานคร", "เชียงใหม่งดงาม", "ภูเก็ตทะเลสวย", "อยุธยาเมืองเก่า"],
    "km": ["ភ្នំពេញជារាជធានី", "សៀមរាបមានប្រាសាទ", "កំពតមានម្រេច", "បាត់ដំបងមានស្រូវ"],
    "my": ["ရန်ကုန်မြို့တော်", "မန္တလေးနန်းတော်", "ပုဂံဘုရားများ", "အင်းလေးကန်"],
    "lo": ["ວຽງຈັນນະຄອນຫຼວງ", "ຫຼວງພະບາງມໍລະດົກ", "ປາກເຊເມືອງໃຕ້", "ວັງວຽງພູຜາ"],
    "ko": ["서울은 수도이다", "부산에 바다가", "제주도의 한라산", "경주에서 불국사"],
    "hi": ["दिल्ली राजधानी है", "मुंबई समुद्र पर", "कोलकाता पूर्व में", "जयपुर गुलाबी शहर"],
    "ar": ["القاهرة عاصمة مصر", "بغداد على دجلة", "دمشق أقدم مدينة", "الرباط على المحيط"],
    "ru": ["Москва столица", "Казань на Волге", "Байкал глубокое озеро", "Эльбрус высокая гора"],
}


@pytest.mark.parametrize("script", SCRIPTS)
def test_passages_of_every_script_are_found_in_whatever_normal_form(script: str) -> None:
    passages = SCRIPTS[script]
    index = words([normalize("NFD", f"{text} ({n})") for n, text in enumerate(passages)])
    asked = [normalize("NFC", f"? {text[: len(text) * 2 // 3]} ?") for text in passages]
    assert [found[:1] for found in index.search(asked, 4, [()] * 4)] == [[0], [1], [2], [3]]


def test_a_single_character_is_found_and_a_bigram_counts_for_more() -> None:
    index = words(["小猫在睡觉", "狗在吃鱼", "床前明月光"])
    assert index.search(["猫", "月明", "明月"], 3, [()] * 3) == [[0], [], [2]]


def test_words_of_english_are_unchanged() -> None:
    text = "It's a state-of-the-art snake_case café, 3.5 %"
    assert [term for term, _ in search_terms(lowered(text))] == re.findall(r"\w+", text.lower())
    assert [term for term, _ in search_terms(lowered(text.replace("é", "e")))] == re.findall(
        r"\w+", text.replace("é", "e").lower()
    )


def test_capitals_of_turkish() -> None:
    index = WordIndex(["ILIK SU", "İSTANBUL"], "tr", 1.5, 0.75, Resources())
    assert index.search(["ılık", "istanbul"], 2, [()] * 2) == [[0], [1]]
    assert words(["İSTANBUL"]).search(["istanbul"], 1, [()]) == [[0]]
