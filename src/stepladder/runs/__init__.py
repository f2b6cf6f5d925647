"""One experiment, from value to scores."""
