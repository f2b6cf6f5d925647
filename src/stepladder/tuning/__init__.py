"""What the model learns: nothing, an adapter, or all of its weights."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "adapters": ["BitFit", "Full", "QLora"],
        "fine_tune": ["FineTune"],
        "training": ["Training"],
        "tuning": ["Frozen", "Tuning"],
    },
)
