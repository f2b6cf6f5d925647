"""Results as tables, figures, verdict text, checklist and HTML."""
