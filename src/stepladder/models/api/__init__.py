"""Models behind an OpenAI-compatible API: requests, their journal, the budget, and exact label scoring."""
