"""Metrics of labels, texts, JSON and rankings."""
