"""For tests of Mizan and of applications: a real Redis server, and a checker of consistency under faults."""
