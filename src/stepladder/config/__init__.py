"""Configs: composed with Hydra, bound to constructors, and reduced to the identity that keys are made from."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"schema": ["Comparison", "Compute", "Instructions", "Sweep"]})
