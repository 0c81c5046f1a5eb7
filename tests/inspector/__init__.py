"""The inspector: what it records, and who may look."""
