"""Stepladder: how far up the ladder from prompting to fine-tuning it pays to climb, with evidence."""
