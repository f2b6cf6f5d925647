"""The networks of embedders as torch modules, for training. Importing this module loads torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import normalize


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Unit vectors (batch, width): the mean of hidden states (batch, length, width) over tokens with `mask` 1."""
    kept = mask[:, :, None].float()
    return normalize((hidden.float() * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1), dim=-1)


@dataclass
class EncoderNetwork:
    """A transformers encoder with mean pooling."""

    module: nn.Module
    tokenizer: Any
    max_tokens: int

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, cut at `max_tokens`."""
        ids = self.tokenizer(list(texts), truncation=True, max_length=self.max_tokens).input_ids if texts else []
        return [list(own) for own in ids]

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors (batch, width) of padded token ids (batch, length)."""
        return mean_pooled(self.module(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


@dataclass
class TrigramNetwork:
    """The toy embedder as a network: one trainable vector per hashed trigram. `trigrams` gives the hashes, below a
    width, of a text."""

    module: nn.Embedding
    trigrams: Callable[[str, int], list[int]]

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Hashes of the trigrams of each text."""
        return [self.trigrams(text, self.module.num_embeddings) for text in texts]

    def vectors(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors (batch, width) of padded hashes (batch, length)."""
        return mean_pooled(self.module(ids), mask)
