"""Sentence embeddings by a transformers encoder with mean pooling.

Constructing an embedder is light: weights are loaded with the first text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stepladder.models.checkpoints import Weights
from stepladder.types import Plain

if TYPE_CHECKING:
    from stepladder.models.text_network import EncoderNetwork


@dataclass(frozen=True, eq=False)
class SentenceEmbedder:
    """Mean of the last hidden states over real tokens, normalised to length one, as in sentence-transformers.

    max_tokens: what is longer is cut for the vector (not for any prompt). batch: texts in the machine at once.
    """

    source: Weights
    max_tokens: int = 256
    batch: int = 64
    version: ClassVar[int] = 1

    def fingerprint(self) -> Plain:
        return {"embedder": self.version, "source": dict(self.source.fingerprint()), "max_tokens": self.max_tokens}

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import torch

        from stepladder.models.text_network import mean_pooled

        encoder = self._encoder
        ids = encoder.token_ids(texts)
        module: Any = encoder.module
        vectors = np.zeros((len(texts), module.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            padded = encoder.tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(
                module.device
            )
            with torch.inference_mode():
                hidden = module(**padded).last_hidden_state
                vectors[rows] = mean_pooled(hidden, padded["attention_mask"]).cpu().numpy()
        return vectors

    def network(self, device: str) -> EncoderNetwork:
        """A new copy of the encoder on a torch device, in float32, to be trained."""
        encoder = self._loaded("float32", device)
        module: Any = encoder.module
        if getattr(module, "pooler", None) is not None:
            module.pooler = None  # mean pooling does not use it, so it would get no gradient
        return encoder

    @cached_property
    def _encoder(self) -> EncoderNetwork:
        return self._loaded(self.source.dtype)

    def _loaded(self, dtype: str, device: str | None = None) -> EncoderNetwork:
        from stepladder.models.loading import load_encoder
        from stepladder.models.text_network import EncoderNetwork

        return EncoderNetwork(*load_encoder(self.source.folder(), dtype, device), self.max_tokens)
