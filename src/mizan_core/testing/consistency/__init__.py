"""A checker that tries to be served stale data: worker processes, a database and Redis, under load and faults.

python -m mizan_core.testing.consistency --redis redis://localhost:6379/0 --seconds 60
"""
