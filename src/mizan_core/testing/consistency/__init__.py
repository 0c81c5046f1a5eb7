"""A check that tries to be served old data: processes, a database and Redis under load, while everything fails.

python -m mizan_core.testing.consistency --redis redis://localhost:6379/0 --seconds 60
"""
