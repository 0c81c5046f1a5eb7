"""The command `mizan`."""
