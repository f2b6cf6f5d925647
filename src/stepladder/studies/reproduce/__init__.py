"""Repeats a stored run and explains every difference."""
