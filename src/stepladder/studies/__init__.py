"""Ways to ask for many experiments."""
