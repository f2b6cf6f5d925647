"""Converts a GGUF file to a folder of safetensors and tokenizer in the user's cache, once.

The weights are kept in bfloat16, whatever dtype a run asks for: four-bit weights lose nothing that matters by it, and
`model.dtype` then changes the arithmetic and not the model.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from contextlib import redirect_stderr
from pathlib import Path

import torch
from filelock import FileLock
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from stepladder.engine.logs import quiet
from stepladder.io.cache import cache_folder
from stepladder.io.files import grant_by_umask


def converted(file: Path, name: str, content: str) -> Path:
    """The folder that `file` was converted into; `content` identifies the file and the version of the conversion."""
    folder = cache_folder() / "models" / f"{name}-{content}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            print(f"converting {file.name} (once, about 20 s)", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=folder.parent) as work, quiet():
                made = Path(work) / "made"
                with redirect_stderr(io.StringIO()):  # a progress bar that cannot be switched off
                    _convert(file, made)
                grant_by_umask(each for each in made.rglob("*") if each.is_file())
                shutil.move(made, folder)
    return folder


def _convert(file: Path, folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    before = GGUFReader(file).fields.get("tokenizer.ggml.pre")
    if before is not None and before.contents() == "smollm":  # transformers does not split digits for it
        backend = tokenizer.backend_tokenizer
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, backend.pre_tokenizer])
    # Without `dequantize` the blocks stay packed in the modules, which can then neither be trained nor saved.
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
