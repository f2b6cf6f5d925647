"""The command line: parses arguments, runs one verb, prints, and owns the exit code."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__, {"entry": ["main"]})
