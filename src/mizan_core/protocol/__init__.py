"""docs/protocol.md as pure code, all that a client needs: no graph, no cache, no engine.

Values (section 2), invalidations (3 and 4), keys (7), URLs and cache headers (8), headers (5 and 14), bodies (3),
problems (10), identities and tokens (11).
"""
