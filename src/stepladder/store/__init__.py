"""Content-addressed directories: keys, locks, readers, provenance and the inventory."""
