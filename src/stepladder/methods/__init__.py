"""What can be compared: everything that is fitted once and then answers questions."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "adapted_model": ["AdaptedModel"],
        "baselines": ["Linear", "Majority"],
        "method": ["Method"],
        "sentence_methods": ["Embedding", "Encoder"],
        "workflow.answer_checks": ["AnswerCheck", "HouseRules", "TaskForm"],
        "workflow.check_and_repair": ["CheckAndRepair"],
        "workflow.decompose": ["Decompose"],
        "workflow.self_consistency": ["SelfConsistency"],
        "workflow.shortlist": ["Shortlist"],
        "workflow.step": ["Step"],
        "workflow.workflow": ["Workflow"],
    },
)
