"""What predictions are worth: sees predictions and the examples they are judged by, never a model."""
