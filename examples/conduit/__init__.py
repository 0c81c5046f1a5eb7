"""The RealWorld API ("Conduit") on FastAPI and PostgreSQL, at its own URLs, with Mizan taken up beside its own code."""
