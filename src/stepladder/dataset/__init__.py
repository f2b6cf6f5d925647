"""Datasets: reads files, packages and hub datasets into tasks, questions and answers."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "dataset": ["Dataset"],
        "general": ["General"],
        "sources": ["Files", "Hub", "Package", "Source"],
        "tables": ["Record", "Table"],
        "toy": ["Toy"],
    },
)
