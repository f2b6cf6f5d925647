"""Files that are complete or absent, the user cache, and the redaction of secrets."""
