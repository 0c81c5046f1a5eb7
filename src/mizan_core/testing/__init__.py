"""For tests, of Mizan and of what is built with it: a real Redis server, and a check that tries to break things."""
