"""Stepladder: measures if prompting, retrieval or fine-tuning of a language model is good enough and what it costs."""
