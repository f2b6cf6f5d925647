"""A toy model and a toy embedder that are built in memory, for tests and a first look in seconds.

The model is a small random Llama whose tokens are bytes. The embedder hashes groups of characters and has no weights.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from stepladder.errors import ConfigError, Fault
from stepladder.models.checkpoints import explicit_engine, faults_of
from stepladder.types import Plain

if TYPE_CHECKING:
    import torch

    from stepladder.models.chat import Chat
    from stepladder.models.local import CausalModel
    from stepladder.models.text_network import TrigramNetwork

_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True)
class ToyCheckpoint:
    """A random Llama of a few thousand parameters. `bias` gives every linear layer one."""

    seed: int = 0
    hidden: int = 64
    layers: int = 2
    heads: int = 4
    window: int = 4096
    bias: bool = False
    dtype: Literal["bf16", "float32"] = "float32"
    engine: Literal["auto", "reference"] = "auto"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        bounds = {"hidden": (2, 4096), "layers": (1, 64), "heads": (1, 64), "window": (1, 2**20)}
        faults = [
            Fault(name, f"{getattr(self, name)} is not from {least} to {most}", "it is a toy")
            for name, (least, most) in bounds.items()
            if not least <= getattr(self, name) <= most
        ]
        if not faults and self.hidden % (2 * self.heads):
            faults.append(Fault("hidden", f"{self.hidden} is no multiple of twice {self.heads} heads", "take another"))
        if not faults and self.heads % max(1, self.heads // 2):
            faults.append(
                Fault("heads", f"{self.heads} heads do not share keys in twos", "give one, or an even number")
            )
        faults += faults_of(self.dtype, self.engine)
        if faults:
            raise ConfigError(faults)

    @property
    def name(self) -> str:
        return "stepladder-toy"

    def fingerprint(self) -> Plain:
        own = {name: value for name, value in asdict(self).items() if name != "engine"}
        return {"toy": self.version, **own, **explicit_engine(self.engine)}

    def chat(self) -> Chat:
        from stepladder.models.chat import Chat

        return Chat(toy_tokenizer())

    def load(self, device: torch.device | str | None = None) -> CausalModel:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from stepladder.engine.precision import DTYPES, computed
        from stepladder.engine.select import create_engine
        from stepladder.models.chat import Chat
        from stepladder.models.local import CausalModel

        tokenizer = toy_tokenizer()
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden,
            intermediate_size=2 * self.hidden,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=max(1, self.heads // 2),
            max_position_embeddings=self.window,
            attention_bias=self.bias,
            mlp_bias=self.bias,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            module = LlamaForCausalLM(config)
        module.name_or_path = config._name_or_path = self.name
        kept = module.to(device=device, dtype=DTYPES[self.dtype])
        module = kept.to(computed(self.dtype, kept.device)).eval()
        return CausalModel(create_engine(module, self.engine, admit=False), Chat(tokenizer))


def toy_tokenizer() -> Any:
    """A fast tokenizer with one token for each byte and each mark of the template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    marks = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    pieces = marks + sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|pad|>", eos_token="<|end|>", additional_special_tokens=marks[2:]
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


@dataclass(frozen=True)
class ToyEmbedder:
    """Hashed character trigrams: texts with words in common get similar vectors."""

    width: int = 256
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 1 <= self.width <= 65536:
            raise ConfigError(Fault("width", f"{self.width} is not from 1 to 65536", "it is a toy"))

    def fingerprint(self) -> Plain:
        return {"toy_embedder": self.version, "width": self.width}

    def network(self, device: str) -> TrigramNetwork:
        """The same vectors as a network that can be trained."""
        import torch

        from stepladder.models.text_network import TrigramNetwork

        vectors = torch.nn.Embedding(self.width, self.width, _weight=torch.eye(self.width))
        return TrigramNetwork(vectors.to(device), trigrams)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            for place in trigrams(text, self.width):
                vectors[row, place] += 1
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / lengths).astype(np.float32)


def trigrams(text: str, width: int) -> list[int]:
    """Hashes (below `width`) of the character trigrams of a text."""
    padded = f"  {text.casefold()} "
    return [zlib.crc32(padded[start : start + 3].encode()) % width for start in range(len(padded) - 2)]
