"""The command line: parses arguments, runs one verb, prints, and owns the exit code."""
