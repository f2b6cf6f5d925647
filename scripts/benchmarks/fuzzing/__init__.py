"""Hostile and random input for the command line: what is generated, and what must hold whatever it is."""
