"""Workflows: several requests to one model, and cheap steps around them, before fine-tuning."""
