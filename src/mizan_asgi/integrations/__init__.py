"""What needs a framework of the host's; `Mizan` imports each module only where it is given an application of it."""
