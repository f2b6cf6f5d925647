"""Studies, which run many experiments: comparisons, sweeps, learning curves, reproductions."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"break_even": ["Prices"], "sweep": ["Grid"]})
