"""The documents: every block of code in them runs."""
