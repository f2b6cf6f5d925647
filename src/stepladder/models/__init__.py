"""Language models and sentence embedders: loads weights; scores, generates and embeds texts."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "api.endpoint": ["Endpoint"],
        "checkpoints": ["FolderCheckpoint", "HubCheckpoint", "PackageCheckpoint"],
        "conversation": ["ConversationModel", "ModelService"],
        "embedder": ["SentenceEmbedder"],
        "language_model": ["Checkpoint", "LanguageModel"],
        "toy": ["ToyCheckpoint", "ToyEmbedder"],
    },
)
