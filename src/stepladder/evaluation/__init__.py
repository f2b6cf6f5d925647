"""Metrics, evaluation suites and statistics: scores predictions against reference answers, and loads no model."""

from stepladder.public import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "answers": ["Answers"],
        "suites.calibration": ["Calibration"],
        "statistics.estimates": ["measure", "paired_difference"],
        "suites.format": ["FreeForm"],
        "metrics.json_fields": ["FieldF1", "FieldPrecision", "FieldRecall", "JsonExactMatch", "ValidJson"],
        "metrics.choice": ["Accuracy", "MacroF1", "Mean", "Metric"],
        "suites.out_of_scope": ["OutOfScope"],
        "suites.rag": ["Rag"],
        "suites.retention": ["Retention"],
        "suites.robustness": ["Robustness"],
        "suites.slices": ["Slices"],
        "suite": ["MetricSuite", "Suite", "SuiteScores"],
        "metrics.text": ["ChrF", "ExactMatch", "RougeL", "TokenF1"],
    },
)
