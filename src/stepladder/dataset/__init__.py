"""What is asked and what counts as an answer: files, packages and hub datasets become plain records."""
