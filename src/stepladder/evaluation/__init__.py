"""Metrics, evaluation suites and statistics: scores predictions against reference answers, and loads no model."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "answered": ["Answered"],
        "calibration": ["Calibration"],
        "costs": ["Prices"],
        "estimates": ["measure", "paired_difference"],
        "format": ["FreeForm"],
        "json_metrics": ["FieldF1", "FieldPrecision", "FieldRecall", "JsonExactMatch", "ValidJson"],
        "metrics": ["Accuracy", "MacroF1", "Mean", "Metric"],
        "out_of_scope": ["OutOfScope"],
        "rag": ["Rag"],
        "retention": ["Retention"],
        "robustness": ["Robustness"],
        "slices": ["Slices"],
        "suite": ["MetricSuite", "Suite", "SuiteScores"],
        "text_metrics": ["ChrF", "ExactMatch", "RougeL", "TokenF1"],
    },
)
