"""A sweep: many trials of one experiment on its validation rows, drawn from a space by Optuna. The one door to it."""
