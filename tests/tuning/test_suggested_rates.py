"""The rate that `show` suggests is the one that a fit takes."""

from __future__ import annotations

import pytest

from stepladder.config.build import build
from stepladder.config.compose import compose
from stepladder.tuning.adapters import learning_rate, suggested_learning_rate

ADAPTERS = ["lora", "rslora", "dora", "ia3", "prompt_tuning", "prefix_tuning", "bitfit", "full"]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_suggested_rate_is_the_one_taken(adapter: str) -> None:
    node = compose([f"adapter={adapter}", "dataset=toy"]).config["adapter"]
    assert suggested_learning_rate(node["_target_"]) == learning_rate(build({"adapter": node})["adapter"].object)
