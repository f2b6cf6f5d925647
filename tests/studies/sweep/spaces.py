"""What a user may write beside a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def rank_of_lora(drawn: Mapping[str, Any]) -> Mapping[str, str]:
    """A rank where there is one to choose."""
    return {"adapter.r": "choice(2, 4)"} if drawn["adapter"] == "lora" else {}
