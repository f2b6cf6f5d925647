"""A model hub: resolves a revision to its commit and fetches that commit's files.

Files that were fetched before are found without a network.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (  # type: ignore[attr-defined]  # the hub's client re-exports its transport's error
    GatedRepoError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from stepladder.errors import ModelError

_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.txt"]


@lru_cache
def resolve(repo: str, revision: str | None) -> str:
    """The commit that `revision` (none: the main branch) names, once a process."""
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    try:
        commit = HfApi().model_info(repo, revision=revision, timeout=10).sha
        if commit:
            return commit
        problem: Exception | str = "the hub names no commit"
    except (GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise _refused(repo, revision, error) from error
    except (OSError, HTTPError, ValueError) as error:
        problem = error
    kept = try_to_load_from_cache(repo, "config.json", revision=revision or "main")
    if isinstance(kept, str):
        return Path(kept).parent.name
    raise _refused(repo, revision, problem)


def snapshot(repo: str, commit: str) -> Path:
    """The folder of one commit's configuration, tokenizer and safetensors."""
    try:
        return Path(snapshot_download(repo, revision=commit, allow_patterns=_WANTED, ignore_patterns=["*/*"]))
    except (OSError, HTTPError, ValueError) as error:
        raise _refused(repo, commit, error) from error


def _refused(repo: str, revision: str | None, problem: Exception | str) -> ModelError:
    said = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    return ModelError(
        f"The hub model '{repo}' can not be had: {said}",
        f"model.repo, revision {revision or 'main'}",
        "check the name, the network and HF_TOKEN, or use model=folder with a copy on disk, or the embedded model",
    )
