"""A transformers causal model and the virtual tokens in front of every row: what every engine needs of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from stepladder.engine.configuration import rope_switch
from stepladder.engine.values import VirtualTokens

Virtual = Callable[[int], VirtualTokens]
"""Virtual tokens of prompt learning for a batch of this many rows."""
Tokens = Sequence[int]


class Network:
    """A causal model with a language-model head, perhaps wrapped by PEFT, and its virtual tokens.

    Args:
        module: The model, or the PEFT model around it.
        virtual: Virtual tokens by batch size; None without prompt learning.
    """

    def __init__(self, module: nn.Module, virtual: Virtual | None = None) -> None:
        self.module, self.virtual = module, virtual
        # PEFT's low-rank and scaling adapters live inside the model that they wrap: calling that one is right.
        whole = cast(Any, module)
        self.causal = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        self.config: Any = self.causal.config.get_text_config()

    @property
    def device(self) -> torch.device:
        return next(iter(self.causal.parameters())).device  # type: ignore[no-any-return]

    @property
    def dtype(self) -> torch.dtype:
        return self.causal.get_input_embeddings().weight.dtype  # type: ignore[no-any-return]

    @property
    def ends(self) -> frozenset[int]:
        """Tokens that the model's own configurations call an end."""
        named = [self.config.eos_token_id, getattr(self.causal.generation_config, "eos_token_id", None)]
        return frozenset(
            end for ends in named for end in (ends if isinstance(ends, list) else [ends]) if end is not None
        )

    @property
    def vocabulary(self) -> int:
        head = self.causal.get_output_embeddings()
        return int(self.config.vocab_size if head is None else head.weight.shape[0])

    @cached_property
    def rotary_switch(self) -> int | None:
        """The longest row, in tokens, whose rotary frequencies do not depend on its length; None: no row's do."""
        return rope_switch(self.config)

    @cached_property
    def virtual_length(self) -> int:
        """How many virtual tokens precede every row."""
        if self.virtual is None:
            return 0
        with self.predicting():
            return self.virtual(1).length

    def exceeds_rotary_switch(self, tokens: int) -> bool:
        """Whether a row of this many tokens has other rotary frequencies than shorter ones."""
        return self.rotary_switch is not None and self.virtual_length + tokens > self.rotary_switch

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """No gradients and no dropout; afterwards every module is in the mode it was in."""
        training = [module for module in self.module.modules() if module.training]
        for module in training:
            module.training = False
        try:
            with torch.no_grad():
                yield
        finally:
            for module in training:
                module.training = True

    def pad(self, rows: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Token ids (batch, longest) padded on the right with token 0, and their lengths (batch,)."""
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
        return ids.to(self.device), lengths.to(self.device)

    def noisy_embeddings(self, ids: Tensor, mask: Tensor, alpha: float) -> Tensor:
        """Embeddings (batch, length, width) of right-padded rows, with NEFTune's noise.

        Each value of a row gets uniform noise from -1 to 1 times alpha / sqrt(length x width), with the row's own
        length (Jain et al. 2023, arXiv 2310.05914).
        """
        embeddings: Tensor = self.causal.get_input_embeddings()(ids)
        scale = alpha / (mask.sum(dim=1) * embeddings.shape[-1]).sqrt()
        noise = torch.empty_like(embeddings).uniform_(-1, 1) * scale[:, None, None].to(embeddings.dtype)
        return embeddings + noise

    def forward(
        self, ids: Tensor, cache: Any = None, keep_cache: bool = False, embeddings: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """The model's own forward pass, behind the virtual tokens. Gradients flow.

        Args:
            ids: Token ids (batch, length), without padding or padded on the right.
            cache: The model's own cache of what precedes `ids`, virtual tokens included.
            keep_cache: Whether to return a cache that holds `ids` too.
            embeddings: Those of `ids` (batch, length, width), where they are not the model's own.

        Returns:
            Logits (batch, length, vocabulary) and the cache, None where the model has none.
        """
        if cache is None:
            arguments, cache = self._behind_virtual(ids, embeddings)
        else:
            arguments = {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}
        names = inspect.signature(self.causal.forward).parameters
        name = "cache_params" if "cache_params" in names else "past_key_values"  # state spaces (Mamba) have the first
        if cache is not None:
            arguments[name] = cache
        output = self.causal(**arguments, use_cache=keep_cache or cache is not None)
        return output.logits[:, -ids.shape[1] :], getattr(output, name, None)

    def _behind_virtual(self, ids: Tensor, embeddings: Tensor | None) -> tuple[dict[str, Any], Any]:
        """The model's argument for rows behind the virtual tokens, and a cache that holds these, if it is one."""
        virtual = self.virtual(len(ids)) if self.virtual else None
        if virtual is not None and virtual.embeddings is not None:
            own = self.causal.get_input_embeddings()(ids) if embeddings is None else embeddings
            return {"inputs_embeds": torch.cat([virtual.embeddings.to(own.dtype), own], dim=1)}, None
        cache = None if virtual is None else virtual.cache
        for layer in cache.layers if cache is not None else ():
            layer.keys, layer.values = layer.keys.to(self.dtype), layer.values.to(self.dtype)
        return {"input_ids": ids} if embeddings is None else {"inputs_embeds": embeddings}, cache
