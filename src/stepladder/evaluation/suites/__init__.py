"""The evaluation suites."""
