"""What the model reads: the prompt, and what is shown beside the question."""
