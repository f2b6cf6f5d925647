"""Evaluation suites, each a set of questions and the figures made of their answers."""
