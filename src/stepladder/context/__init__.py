"""What the model reads: the prompt, and the demonstrations or passages shown with the question."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "context": ["Context", "NoContext"],
        "demonstrations": ["Demonstrations"],
        "prompt": ["PlainPrompt", "Prompt", "StructuredPrompt"],
        "retrieval": ["Retrieval"],
    },
)
