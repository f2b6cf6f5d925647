"""Pages for people: one file each, one look, no network."""
