"""Language models and embedders: weights in, scores, texts and vectors out."""
