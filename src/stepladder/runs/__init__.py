"""One experiment, from its config to its scores."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "tracking": ["NoTracking", "Tracking", "Wandb"],
    },
)
